"""Random sequences, drawn once and repeated: nothing to understand, everything to remember.

Legend: B documents, N sequences, S tokens of a sequence, V letters.
"""

from functools import cached_property
from math import log2
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.exposures import Exposures
from generators.support.strings import bytes_of_strings, distinct_strings, fewer_strings
from generators.task import Batch, Task
from generators.vocabulary import BOS, Vocabulary


class RandomSequences(Exposures):
    """N different sequences of S tokens, uniform over V letters.

    With them Morris et al. (2505.24832) and the virtual-logical-depth paper (2506.18233) measure
    capacity: the information is known, and none of it can be had by generalising.

    >>> task = RandomSequences(sequences=3, length=6, alphabet=10).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 3, 0]), 1, index=0)
    >>> print(task.vocabulary.decode(batch.tokens[0])); print(batch.loss_mask[0].astype(int))
    <bos> 8 8 9 7 3 7
    [0 1 1 1 1 1 1]

    Everything after `<bos>` is predicted.
    """

    version: ClassVar[int] = 1
    splits: ClassVar[tuple[str, ...]] = ("train",)

    kind: Literal["random_sequences"] = "random_sequences"
    sequences: int = Field(1000, ge=1, description="N")
    length: int = Field(64, ge=1, description="S, tokens of a sequence")
    alphabet: int = Field(64, ge=2, description="V, letters")

    @model_validator(mode="after")
    def _enough_sequences(self) -> Self:
        if fewer_strings(self.sequences, self.length, self.alphabet):
            raise ValueError(
                f"sequences {self.sequences} is more than the {self.alphabet**self.length} of "
                f"{self.length} out of {self.alphabet} letters; raise length or alphabet"
            )
        return self

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.build([BOS, *(f"letter:{t}" for t in range(self.alphabet))])

    @property
    def vocabulary_size(self) -> int:
        return 2 + self.alphabet

    def sketch(self) -> Task:
        """All documents are of one length."""
        few = min(self.sequences, max(1, 1_000_000 // self.length), 1000)
        return self.with_fields(sequences=few, alphabet=min(self.alphabet, 1000))

    @property
    def world_bytes(self) -> int:
        drawn = bytes_of_strings(self.sequences, self.length, self.alphabet)
        return drawn + 16 * self.sequences + 200 * self.alphabet

    @property
    def context_length(self) -> int:
        return 1 + self.length

    @property
    def items_per_exposure(self) -> int:
        """N, the number of sequences."""
        return self.sequences

    @cached_property
    def world(self) -> np.ndarray:
        """The letters of the sequences, int64[N, S]."""
        return distinct_strings(self.world_generator(), self.sequences, self.length, self.alphabet)

    @cached_property
    def occurring(self) -> np.ndarray:
        """The letters of these sequences."""
        v = self.vocabulary
        return v.among(v.ids([BOS]), v.id("letter:0") + np.unique(self.world))

    @property
    def sequence_bits(self) -> float:
        """S·log2 V, the bits of one sequence."""
        return self.length * log2(self.alphabet)

    def information_bits(self) -> float:
        """N·log2(V^S/N): which sequences there are; their order is not told.

        Morris et al. count N·S·log2 V, which no model of the sequences reaches: before its first
        tokens it cannot know which of the N comes, and that costs log2 N each time.
        """
        return self.sequences * (self.sequence_bits - log2(self.sequences))

    def sample(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        split: str = "train",
        difficulty: int | None = None,
        index: int | None = None,
    ) -> Batch:
        self.check_arguments(split, difficulty)
        return self.write(self.items(rng, n, index))

    def write(self, sequences: np.ndarray) -> Batch:
        """One document for each sequence number in int64[B]."""
        B = len(sequences)
        tokens = np.empty((B, self.context_length), np.int32)
        tokens[:, 0] = self.vocabulary.id(BOS)
        tokens[:, 1:] = self.vocabulary.id("letter:0") + self.world[sequences]
        loss_mask = np.ones(tokens.shape, bool)
        loss_mask[:, 0] = False
        spans = {"sequence": np.tile(np.array([1, 1 + self.length], np.int32), (B, 1))}
        return Batch(tokens, loss_mask, spans, {"sequence": sequences}, np.zeros(B, np.int32))
