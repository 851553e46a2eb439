"""Copying: the simplest thing that attention does, to calibrate everything else.

Legend: B documents, ℓ symbols of one, L the most.
"""

from functools import cached_property
from math import log2
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.hashing import mix
from generators.online import OnlineTask
from generators.support.distinct import distinct
from generators.task import Batch, Task
from generators.vocabulary import BOS, Vocabulary

#: sequences of the shortest length: fewer, and none might be left for a split
FEWEST = 4096


class Copying(OnlineTask):
    """ℓ random symbols and then the same again; only the copy is scored.

    >>> task = Copying(length=4, symbols=20).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 3, 0]), 1)
    >>> print(task.vocabulary.decode(batch.tokens[0])); print(batch.loss_mask[0].astype(int))
    <bos> 8 9 13 4 <copy> 8 9 13 4
    [0 0 0 0 0 0 1 1 1 1]

    Physics of Language Models 4.1 copies 500 distinct tokens, always as many (ℓ = L): one layer
    with rotary positions needs a width of 128 for it, two layers 16. With `shortest`, ℓ is
    uniform in `shortest` … L instead.
    """

    version: ClassVar[int] = 1
    difficulty_name: ClassVar[str] = "symbols"

    kind: Literal["copy"] = "copy"
    length: int = Field(32, ge=1, description="L, most symbols to copy")
    shortest: int | None = Field(None, ge=1, description="fewest symbols to copy; None: L")
    symbols: int = Field(64, ge=2, description="different symbols there are")
    distinct: bool = Field(True, description="no symbol twice in a document")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.fewest > self.length:
            raise ValueError(f"shortest {self.shortest} is more than length {self.length}")
        self.check_context(f"lower length to at most {(self.context - 2) // 2}")
        if self.distinct and self.length > self.symbols:
            raise ValueError(
                f"length {self.length} distinct symbols are more than the symbols "
                f"{self.symbols}; lower length, raise symbols or set distinct: false"
            )
        if self._log2_sequences(self.fewest) < log2(FEWEST):
            raise ValueError(
                f"there are only {2 ** self._log2_sequences(self.fewest):.0f} sequences of "
                f"{self.fewest} of {self.symbols} symbols; needed are {FEWEST} to hold some out: "
                "raise symbols or the shortest length"
            )
        return self

    @property
    def fewest(self) -> int:
        """The fewest symbols of a document."""
        return self.length if self.shortest is None else self.shortest

    def _log2_sequences(self, length: int) -> float:
        there = self.symbols - np.arange(length) if self.distinct else [self.symbols] * length
        return float(np.log2(there).sum())

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.build([BOS, "<copy>", *(str(i) for i in range(self.symbols))])

    @property
    def vocabulary_size(self) -> int:
        return 3 + self.symbols

    def sketch(self) -> Task:
        """Documents are as long as there are symbols to copy."""
        return self.with_fields(symbols=FEWEST, distinct=False)

    @property
    def world_bytes(self) -> int:
        return 230 * self.symbols

    @property
    def context_length(self) -> int:
        return 2 * self.length + 2

    @property
    def difficulties(self) -> tuple[int, ...]:
        """A difficulty is a number of symbols: L, L/2 and L/4 as far as they are trained on."""
        parts = {self.length // 4, self.length // 2, self.length}
        return tuple(sorted(n for n in parts if n >= self.fewest))

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
        if difficulty is None:
            lengths = rng.integers(self.fewest, self.length + 1, n)
        else:
            lengths = np.full(n, difficulty)
        sequence = self._draw(rng, lengths)
        weight = mix(np.arange(self.length), 1)

        def fingerprint(rows: np.ndarray) -> np.ndarray:
            return mix((sequence[rows] + 1).astype(np.uint64) @ weight, 2)

        def redraw(rows: np.ndarray) -> None:
            sequence[rows] = self._draw(rng, lengths[rows])

        self.settle(split, np.arange(n), fingerprint, redraw)
        return self._documents(lengths, sequence)

    def _draw(self, rng: np.random.Generator, lengths: np.ndarray) -> np.ndarray:
        """Symbol numbers int64[B, L], -1 beyond the end."""
        n = len(lengths)
        if self.distinct:
            drawn = distinct(rng, n, self.length, self.symbols)
        else:
            drawn = rng.integers(0, self.symbols, (n, self.length))
        return np.where(np.arange(self.length) < lengths[:, None], drawn, -1)

    def _documents(self, lengths: np.ndarray, sequence: np.ndarray) -> Batch:
        n = len(lengths)
        tokens = np.zeros((n, self.context_length), np.int32)
        tokens[:, 0] = self.vocabulary.id(BOS)
        row, place = (sequence >= 0).nonzero()
        symbol = self.vocabulary.id("0") + sequence[row, place]
        tokens[row, 1 + place] = symbol
        tokens[row, 2 + lengths[row] + place] = symbol
        tokens[np.arange(n), 1 + lengths] = self.vocabulary.id("<copy>")
        columns = np.arange(tokens.shape[1])
        start, stop = 2 + lengths, 2 + 2 * lengths
        spans = {"sequence": (np.ones_like(start), start - 1), "answer": (start, stop)}
        return Batch(
            tokens,
            (columns >= start[:, None]) & (columns < stop[:, None]),
            {name: np.stack(pair, axis=1).astype(np.int32) for name, pair in spans.items()},
            {},
            lengths.astype(np.int32),
        )

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """`chance`: one over the number of sequences."""
        self.check_arguments(split, difficulty)
        lengths = self.difficulties if difficulty is None else (difficulty,)
        return {"chance": float(np.mean([2.0 ** -self._log2_sequences(n) for n in lengths]))}
