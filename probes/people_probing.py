"""What P- and Q-probing share: which attributes, who is trained on, and the rows.

Legend: N people, S read columns.
"""

from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from generators.biographies import Biographies
from generators.streams import Stream, generator
from generators.task import Task
from probes.capacity import biographies_in
from probes.linear import measurements
from probes.low_rank import Documents, Fit, fitted_predictions
from probes.probe import Measurement, Probe, Subject

#: targets in the order of the rows
TARGETS = ("birth_month", "birth_city", "university", "major", "employer", "company_city")
Target = Literal["birth_month", "birth_city", "university", "major", "employer", "company_city"]


def labels_of(text: Biographies, target: str) -> np.ndarray:
    """The class of every person, int64[N]; a birth date is reduced to its month."""
    world = text.world
    return world.dates[:, 0] if target == "birth_month" else world.facts[target]


class PeopleProbing(Probe):
    """A probe that is fitted to half of the people and tested on the others, with a control.

    The floor is the commonest value among those tested. Takes minutes: only where it is named.
    """

    by_default: ClassVar[bool] = False
    looks_inside: ClassVar[bool] = True
    needs: ClassVar[str] = "biographies (bios, extraction, operations)"
    norm: ClassVar[str]

    targets: tuple[Target, ...] = Field(TARGETS, min_length=1, description="attributes")
    people: int | None = Field(None, ge=4, description="trained and tested on; None: everyone")
    loops: Literal["last", "all"] = Field("last", description="after which states are read")
    rank: int = Field(2, ge=0, description="of the embedding's update; 0: none")
    steps: int = Field(1000, ge=1, description="of each fit; the paper's 30,000")
    batch: int = Field(50, ge=2, description="people in one step")
    lr: float = Field(1e-3, gt=0, description="peak learning rate of the probe")
    weight_decay: float = Field(0.3, ge=0, description="of the probe's parameters")

    @classmethod
    def applies(cls, task: Task) -> bool:
        return biographies_in(task) is not None

    @abstractmethod
    def documents(self, text: Biographies, rng: np.random.Generator) -> Documents:
        """The documents that are read, and the columns."""

    @abstractmethod
    def places(self) -> tuple[str, ...]:
        """The endings of `item`, one for each of the S columns."""

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """Measurements by loop, target and place.

        Raises:
            ValueError: the task has no biographies, or the model cannot be looked into.
        """
        self.check(subject.task)
        text = biographies_in(subject.task)
        assert text is not None
        rng = generator(subject.seed, Stream.PROBE)
        order = rng.permutation(text.people)[: self.people]
        train, test = np.array_split(order, 2)
        last = subject.looped.config.loops
        rows: list[Measurement] = []
        for loop in range(1, last + 1) if self.loops == "all" else (last,):
            fit = Fit(
                self.rank, self.norm, self.steps, self.batch, self.lr, self.weight_decay, loop
            )
            for target in self.targets:
                labels = labels_of(text, target)
                mixed = labels.copy()
                mixed[order] = rng.permutation(labels[order])
                right, control = (
                    self._right(subject, text, y, train, test, fit) for y in (labels, mixed)
                )
                majority = float(np.bincount(labels[test]).max() / len(test))
                for s, place in enumerate(self.places()):
                    rows += measurements(
                        right[:, s],
                        control[:, s],
                        majority,
                        split="train",
                        item=target + place,
                        loop=loop,
                    )
        return tuple(rows)

    def _right(
        self,
        subject: Subject,
        text: Biographies,
        labels: np.ndarray,
        train: np.ndarray,
        test: np.ndarray,
        fit: Fit,
    ) -> np.ndarray:
        """Whether each prediction is right, bool[n, S]; targets and loops have the same texts."""
        documents = self.documents(text, generator(subject.seed, Stream.EVALUATION, 1))
        rng = generator(subject.seed, Stream.PROBE, 2)
        found = fitted_predictions(subject, documents, labels, train, test, fit, rng)
        return found == labels[test][:, None]
