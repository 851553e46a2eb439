"""Multi-query associative recall: pairs told in the context, each asked for later (Zoology).

Legend: B documents, T tokens after the first, P pairs of one document, D the most, K keys,
V values, S places for queries.
"""

from functools import cached_property
from math import lgamma, log
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.batch import Batch
from generators.hashing import mix
from generators.online import OnlineTask
from generators.support.distinct import distinct
from generators.task import Task
from generators.vocabulary import BOS, Vocabulary

#: sets of pairs there have to be, so that some are left for every split
FEWEST_SETS = 10_000


class MQAR(OnlineTask):
    """P different keys with a value each, then every key once more, with its value to be recalled.

    After the pairs come (T - 2P) / 2 places of two tokens. Of these P are drawn without replacement
    with P(s) ∝ s^(power - 1), and the keys stand there again in random order, each with its value
    behind it, which is scored. A power of 1 makes places uniform, less brings them close to the
    pairs. Other places have random tokens, though no key of the document (`filler: false`: a token
    of its own). Keys, and values, of a document are different. The span `answer` is that of one
    query, each equally likely, so that accuracy is the share of queries answered.

    >>> task = MQAR(pairs=2, fewest=2, length=14, keys=100, values=50, filler=False).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 3, 0]), 1)
    >>> print(task.vocabulary.decode(batch.tokens[0])); print(batch.loss_mask[0].astype(int))
    <bos> k75 v36 k54 v49 k54 v49 _ _ _ _ k75 v36 _ _
    [0 0 0 0 0 0 1 0 0 0 0 0 1 0 0]

    In the paper (2312.04927; published code) T is 64 to 512, P 4 to 64, the power 0.01 and K + V =
    8192. There no answer is written behind its query, fillers may be keys, and pairs told first are
    asked for first more often than not. Held out are sets of pairs, whatever their order.
    """

    version: ClassVar[int] = 1
    difficulty_name: ClassVar[str] = "pairs"

    kind: Literal["mqar"] = "mqar"
    pairs: int = Field(16, ge=1, description="D, most pairs of a document")
    fewest: int | None = Field(
        4, ge=1, description="fewest pairs in training, where P is uniform up to D; None: D"
    )
    length: int = Field(128, ge=4, description="T, tokens of a document after the first")
    keys: int = Field(128, ge=1, description="K, different keys there are")
    values: int = Field(128, ge=1, description="V, different values there are")
    power: float = Field(0.01, gt=0, description="of the law of the places of queries")
    filler: bool = Field(True, description="random tokens where no query is")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        least = self.least
        if least > self.pairs:
            raise ValueError(f"fewest {self.fewest} is more than pairs {self.pairs}")
        if self.length % 2 or self.length < 4 * self.pairs:
            raise ValueError(
                f"length {self.length} needs to be even and at least {4 * self.pairs}, four tokens "
                f"for each of {self.pairs} pairs; change length or pairs"
            )
        if self.pairs > min(self.keys, self.values):
            raise ValueError(
                f"pairs {self.pairs} have different keys and values, of which there are "
                f"{self.keys} and {self.values}; raise keys and values or lower pairs"
            )
        sets = lgamma(self.keys + 1) - lgamma(self.keys - least + 1) - lgamma(least + 1)
        sets += lgamma(self.values + 1) - lgamma(self.values - least + 1)
        if sets < log(FEWEST_SETS):
            raise ValueError(
                f"{self.keys} keys and {self.values} values make fewer than {FEWEST_SETS} sets of "
                f"{least} pairs, too few to hold some out; raise keys, values or fewest"
            )
        self.check_context("lower length")
        return self

    @property
    def least(self) -> int:
        """The fewest pairs of a document."""
        return self.pairs if self.fewest is None else self.fewest

    @cached_property
    def vocabulary(self) -> Vocabulary:
        empty = [] if self.filler else ["_"]
        names = (("k", self.keys), ("v", self.values))
        return Vocabulary.build([BOS, *empty, *(f"{x}{i}" for x, n in names for i in range(n))])

    @property
    def vocabulary_size(self) -> int:
        return 2 + (not self.filler) + self.keys + self.values

    def sketch(self) -> Task:
        """All documents are of one length."""
        few = max(self.pairs, 128)
        return self.with_fields(keys=few, values=few)

    @property
    def world_bytes(self) -> int:
        return 360 * (self.keys + self.values)

    @property
    def context_length(self) -> int:
        return 1 + self.length

    @property
    def difficulties(self) -> tuple[int, ...]:
        """A difficulty is a number of pairs: D, D/2 and D/4 as far as they are trained on."""
        parts = {self.pairs // 4, self.pairs // 2, self.pairs}
        return tuple(sorted(n for n in parts if n >= self.least))

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
            pairs = rng.integers(self.least, self.pairs + 1, n)
        else:
            pairs = np.full(n, difficulty)
        inside = np.arange(self.pairs) < pairs[:, None]
        key = distinct(rng, n, self.pairs, self.keys)
        value = distinct(rng, n, self.pairs, self.values)

        def fingerprint(rows: np.ndarray) -> np.ndarray:
            each = mix(key[rows] * self.values + value[rows], 1)
            return np.where(inside[rows], each, np.uint64(0)).sum(axis=1)

        def redraw(rows: np.ndarray) -> None:
            value[rows] = distinct(rng, len(rows), self.pairs, self.values)

        self.settle(split, np.arange(n), fingerprint, redraw)
        return self._documents(rng, pairs, inside, key, value)

    def _places(
        self, rng: np.random.Generator, pairs: np.ndarray, inside: np.ndarray
    ) -> np.ndarray:
        """The place of each pair's query, int64[B, D], from 0 behind the pairs."""
        S = self.length // 2 - self.least
        rates = np.arange(1, S + 1) ** (self.power - 1.0)
        times = rng.standard_exponential((len(pairs), S)) / rates  # the first come first
        times[np.arange(S) >= (self.length // 2 - pairs)[:, None]] = np.inf
        shuffled = np.where(inside, rng.random(inside.shape), 2.0).argsort(axis=1)
        return np.take_along_axis(times.argsort(axis=1)[:, : self.pairs], shuffled, axis=1)

    def _documents(
        self,
        rng: np.random.Generator,
        pairs: np.ndarray,
        inside: np.ndarray,
        key: np.ndarray,
        value: np.ndarray,
    ) -> Batch:
        n, rows = len(pairs), np.arange(len(pairs))
        first_key, first_value = self.vocabulary.id("k0"), self.vocabulary.id("v0")
        tokens = np.empty((n, self.context_length), np.int32)
        tokens[:, 0] = self.vocabulary.id(BOS)
        tokens[:, 1:] = self._fillers(rng, np.where(inside, key, self.keys), (n, self.length))
        at = 1 + 2 * (pairs[:, None] + self._places(rng, pairs, inside))  # of the queries
        row, pair = inside.nonzero()
        for column in (1 + 2 * pair, at[row, pair]):
            tokens[row, column] = first_key + key[row, pair]
            tokens[row, column + 1] = first_value + value[row, pair]
        loss_mask = np.zeros(tokens.shape, bool)
        loss_mask[row, at[row, pair] + 1] = True
        asked = (rng.random(n) * pairs).astype(np.int64)
        start = at[rows, asked] + 1
        spans = {"pair": 1 + 2 * asked, "query": start - 1, "answer": start}
        stops = {"pair": 3 + 2 * asked, "query": start, "answer": start + 1}
        return Batch(
            tokens,
            loss_mask,
            {k: np.stack([spans[k], stops[k]], axis=1).astype(np.int32) for k in spans},
            {"key": key[rows, asked], "value": value[rows, asked]},
            pairs.astype(np.int32),
        )

    def _fillers(
        self, rng: np.random.Generator, taken: np.ndarray, shape: tuple[int, int]
    ) -> np.ndarray:
        """Random tokens, int[B, T]: values and the keys not in int64[B, D] (K: none)."""
        if not self.filler:
            return np.full(shape, self.vocabulary.id("_"))
        free = (taken == self.keys).sum(axis=1, keepdims=True) + self.keys - taken.shape[1]
        number = (rng.random(shape) * (free + self.values)).astype(np.int64)
        for one in np.sort(taken, axis=1).T[:, :, None]:
            number += (number >= one) & (one < self.keys)
        return self.vocabulary.id("k0") + number

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """Guesses of who knows which values are in the pairs, and not whose.

        `exclusion`: one of those that no query before had, H_P / P on average over the queries;
        `context`: any of them, 1/P; `chance`: 1/V.
        """
        self.check_arguments(split, difficulty)
        pairs = self.difficulties if difficulty is None else (difficulty,)
        return {
            "exclusion": float(np.mean([(1 / np.arange(1, p + 1)).sum() / p for p in pairs])),
            "context": float(np.mean([1 / p for p in pairs])),
            "chance": 1 / self.values,
        }
