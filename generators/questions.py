"""Biographies mixed with questions about the people in them: what such tasks have in common.

Legend: B documents, N people, A = 6 attributes (in the order of `ATTRIBUTES`).
"""

from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import (
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from generators.biographies import Biographies
from generators.plugins import IDENTITY
from generators.support.people import person_tokens
from generators.task import Batch, Task
from generators.templates import ATTRIBUTES, DATE


class PeopleQuestions(Task):
    """A task that tells of all N people and asks about them.

    The biographies of everyone are in training, with questions about a share `trained`;
    validation and test ask about the others, half each.
    """

    #: people who have to be asked about in training, and who have to be left
    fewest: ClassVar[tuple[int, int]] = (1, 2)

    biographies: Biographies = Field(
        default_factory=Biographies,
        description="the people and how their biographies are written: the fields of task `bios`",
    )
    trained: float = Field(0.5, gt=0, lt=1, description="share of people asked about in training")

    @model_validator(mode="after")
    def _somebody_in_every_split(self) -> Self:
        people, trained = self.biographies.people, self._stops[0]
        if trained < self.fewest[0] or people - trained < self.fewest[1]:
            raise ValueError(
                f"trained {self.trained} of {people} people asks about {trained} in training and "
                f"leaves {people - trained}; {self.fewest[0]} and {self.fewest[1]} are needed: "
                "change trained or biographies.people"
            )
        return self

    @model_serializer(mode="wrap")
    def _with_version_of_biographies(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Puts the version of the biographies into the identity, though they name no kind.

        The first version is left out, so that run ids stay what they were.
        """
        fields = handler(self)
        version = type(self.biographies).version
        if info.context == IDENTITY and version > 1:
            fields["biographies"] = {**fields.get("biographies", {}), "version": version}
        return fields

    @property
    def _stops(self) -> tuple[int, int, int]:
        """Number of the last person, plus one, of training, validation and test."""
        n = self.biographies.people
        trained = round(self.trained * n)
        return trained, trained + (n - trained) // 2, n

    def people_of(self, split: str) -> range:
        """Numbers of the people whom a split asks about."""
        i = self.splits.index(split)
        return range((0, *self._stops)[i], self._stops[i])

    @cached_property
    def text(self) -> Biographies:
        """The biographies of this world."""
        fields = {} if self.world_seed is None else {"world_seed": self.world_seed}
        return self.biographies.model_copy(update=fields).bind(self.seed, component=self.component)

    def sketch(self) -> Task:
        """About other people."""
        text = self.biographies.sketch()
        if text is self.biographies:
            return self
        return self.with_fields(biographies=text, trained=0.5)

    @property
    def world_bytes(self) -> int:
        return self.biographies.world_bytes + 110 * self.biographies.people

    @cached_property
    def occurring(self) -> np.ndarray:
        """What the biographies have, and the words of the questions in training."""
        told = np.flatnonzero(self.text.occurring)  # their vocabulary begins ours
        return self.vocabulary.among(told, *self.question_tokens())

    def question_tokens(self) -> list[np.ndarray]:
        """Ids of all tokens of the questions in training; those that are not the text's."""
        return [np.arange(len(self.text.vocabulary), len(self.vocabulary))]

    @property
    def context_length(self) -> int:
        """Tokens of the longest biography; every question is shorter."""
        return self.text.context_length

    def information_bits(self) -> float:
        """Bits of the biographies, since questions ask for nothing else."""
        return self.text.information_bits()

    @property
    def dates(self) -> tuple[str, ...]:
        """Parts of a birth date in the order in which they are answered."""
        return DATE

    @cached_property
    def _tokens(self) -> dict[str, np.ndarray]:
        """Token ids by person: `name` int32[N, 3]; `values` int32[N, A, 3], 0 beyond one token."""
        known = person_tokens(self.text.world, self.text.values, self.vocabulary)
        values = np.zeros((self.biographies.people, len(ATTRIBUTES), len(DATE)), np.int32)
        values[:, 0] = known["date"][:, [DATE.index(part) for part in self.dates]]
        values[:, 1:, 0] = known["values"]
        return {"name": known["name"], "values": values}

    def told(self, rng: np.random.Generator, n: int, first: int | None) -> list[Batch]:
        """The n biographies from running number `first` on, or none where n is 0."""
        return [self.text.sample(rng, n, index=first)] if n else []
