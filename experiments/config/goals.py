"""The accuracy that ends a phase of training early."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from experiments.config.frozen import Frozen
from generators.task import Task
from probes.accuracy import Accuracy


class Goal(Frozen):
    """A phase ends once its model answers a share `level` of the questions of each difficulty.

    They are the questions that probe `accuracy` asks, at all of the model's loops. Never those
    of the test split: what chooses the moment at which training goes on is not measured with.
    Difficulties of which nothing is held out, such as single facts, are asked about with
    `split: train`.
    """

    level: float = Field(gt=0, le=1, description="accuracy that every difficulty has to reach")
    difficulties: tuple[int, ...] | None = Field(
        None, min_length=1, description="those asked about; None: all of the split"
    )
    split: Literal["validation", "train"] = Field(
        "validation", description="split of the questions"
    )
    every: int = Field(50, ge=1, description="steps of the phase between two looks")
    items: int = Field(512, ge=1, description="most questions of a difficulty")
    pass_on: bool = Field(
        False,
        description="the steps that the phase saves go to the next one, which then ends where it "
        "would have without the goal; false: they are saved",
    )

    @field_validator("difficulties")
    @classmethod
    def _in_order(cls, difficulties: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """Written in another order they are the same goal, and the same run."""
        return None if difficulties is None else tuple(sorted(set(difficulties)))

    @property
    def probe(self) -> Accuracy:
        """What looks whether it is reached."""
        return Accuracy(items=self.items, splits=(self.split,), difficulties=self.difficulties)

    def misfits(self, task: Task) -> Iterator[tuple[str, str]]:
        """Yields (field, what is wrong) where a task cannot be asked such questions."""
        asked = [part for part in task.parts.values() if Accuracy.applies(part)]
        if not asked:
            yield "", f"task {task.kind} asks no questions that could be answered right"
        for part in asked:
            if self.split not in part.splits:
                yield "split", f"{part.kind} has no {self.split} split; ask with split: train"
                continue
            known = part.difficulties_of(self.split)
            for difficulty in self.difficulties or ():
                if difficulty not in known:
                    names = ", ".join(map(str, known)) or "none"
                    more = ""
                    if difficulty in part.difficulties_of("train"):
                        more = ", and all others with split: train"
                    yield (
                        "difficulties",
                        f"{part.kind} has no difficulty {difficulty} in its {self.split} split; "
                        f"it has {names}{more}",
                    )


def ends_of(goals: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    """Number of each phase that reached its goal -> step at which that ended it."""
    return {goal["phase"]: goal["step"] for goal in goals if goal["reached"]}
