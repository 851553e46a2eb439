"""p-hop induction: from a symbol to what followed it last, p times over.

Legend: B documents, T tokens of a sequence, P most hops, A symbols of the alphabet.
"""

from functools import cached_property
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.hashing import mix
from generators.online import OnlineTask
from generators.support.strings import fewer_strings
from generators.task import Batch
from generators.vocabulary import Vocabulary

#: least distance between two hops, so that pairs do not touch
GAP = 3


class PHop(OnlineTask):
    """A sequence of T symbols and the p-th hop back from its last one.

    One hop goes from a symbol to the latest earlier place where the same symbol stands, and one
    step forward from there (2402.09268); p = 1 is an induction head. The hops are planted: the
    symbols c_0, c_1 … c_p along the way are uniform without repeating one another in a row, hop
    j stands at least 3 places before hop j - 1 (cuts uniform over what is left of the sequence),
    and all other symbols are uniform but for the one that would change the hop.

    >>> task = PHop(length=14, hops=3).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 3, 0]), 1, difficulty=2)
    >>> print(task.vocabulary.decode(batch.tokens[0])); print(batch.loss_mask[0].astype(int))
    <2> c a b a c c a c b a a a b c <ans> a
    [0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1]
    >>> [int(batch.latents[f"hop.{j}"][0]) for j in range(4)]
    [2, 1, 0, -1]

    Calibration: 2502.17416 has A = 4, T = 256 and p = 16 or 32 in all documents (`mixed: false`).
    With `cot` the symbols c_1 … c_p are written, of which the last is the answer.
    """

    version: ClassVar[int] = 1
    difficulty_name: ClassVar[str] = "hops"

    kind: Literal["phop"] = "phop"
    length: int = Field(256, ge=4, description="T, symbols of the sequence")
    alphabet: int = Field(4, ge=3, le=26, description="A, different symbols")
    hops: int = Field(16, ge=1, description="P, most hops")
    mixed: bool = Field(True, description="train on 1 … P hops in equal parts, not on P only")
    cot: bool = Field(False, description="write the symbols on the way before the answer")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        most = (self.length - 2) // GAP
        if self.hops > most:
            raise ValueError(
                f"hops {self.hops} need a sequence of {GAP * self.hops + 2} symbols, length is "
                f"{self.length}; raise length or lower hops to at most {most}"
            )
        fits = self.length - self.context_length + self.context
        self.check_context(f"lower length to at most {fits}")
        if fewer_strings(10_000, self.length, self.alphabet):
            raise ValueError(
                f"there are only {self.alphabet**self.length} sequences of length {self.length}; "
                "needed are 10000 or more to hold some out: raise length or alphabet"
            )
        return self

    @cached_property
    def vocabulary(self) -> Vocabulary:
        hops = [f"<{p}>" for p in range(1, self.hops + 1)]
        return Vocabulary.build([*hops, "<ans>", *map(chr, range(97, 97 + self.alphabet))])

    @property
    def context_length(self) -> int:
        return self.length + 2 + (self.hops if self.cot else 1)

    @property
    def difficulties(self) -> tuple[int, ...]:
        """A difficulty counts hops: powers of two and P, or P alone if no others are trained on."""
        powers = {2**i for i in range(self.hops.bit_length())} if self.mixed else set()
        return tuple(sorted(powers | {self.hops}))

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
        if difficulty is not None:
            hops = np.full(n, difficulty)
        else:
            hops = rng.integers(1 if self.mixed else self.hops, self.hops + 1, n)
        sequence, chain = self._plant(rng, hops)
        weight = mix(np.arange(self.length), 1)

        def fingerprint(rows: np.ndarray) -> np.ndarray:
            return mix(sequence[rows].astype(np.uint64) @ weight, 2)

        def redraw(rows: np.ndarray) -> None:
            sequence[rows], chain[rows] = self._plant(rng, hops[rows])

        self.settle(split, np.arange(n), fingerprint, redraw)
        return self._documents(hops, sequence, chain)

    def _plant(self, rng: np.random.Generator, hops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sequences int64[B, T] and what is on the way, int64[B, P + 1], -1 beyond the p-th."""
        n, rows = len(hops), np.arange(len(hops))[:, None]
        j = np.arange(self.hops + 1)
        there = j <= hops[:, None]
        steps = rng.integers(1, self.alphabet, (n, self.hops + 1))
        steps[:, 0] = rng.integers(0, self.alphabet, n)
        chain = np.cumsum(steps, axis=1) % self.alphabet
        last = self.length - 1
        cuts = np.floor(rng.random((n, self.hops + 1)) * (last - GAP * hops)[:, None])
        cuts[:, 0] = 0  # of the last symbol, hop 0
        places = last - GAP * j - np.sort(np.where(there, cuts, np.inf), axis=1)
        places = np.where(there, places, -1).astype(np.int64)
        passed = np.zeros((n, self.length + 1), np.int64)
        passed[rows, places] = there  # those beyond the p-th are in the last column
        passed[:, self.length] = 0
        # hops at or after each place, that at the place itself left out
        since = np.cumsum(passed[:, self.length - 1 :: -1], axis=1)[:, ::-1] - passed[:, :-1] - 1
        avoid = np.take_along_axis(chain, np.maximum(since, 0), axis=1)
        free = (since >= hops[:, None]) | (since < 0)
        u = rng.random((n, self.length))
        other = (u * (self.alphabet - 1)).astype(np.int64)
        sequence = np.where(free, (u * self.alphabet).astype(np.int64), other + (other >= avoid))
        row, hop = there.nonzero()
        sequence[row, places[row, hop]] = chain[row, hop]
        row, hop = there[:, 1:].nonzero()
        sequence[row, places[row, hop + 1] - 1] = chain[row, hop]
        return sequence, np.where(there, chain, -1)

    def _documents(self, hops: np.ndarray, sequence: np.ndarray, chain: np.ndarray) -> Batch:
        n, start = len(hops), self.length + 2
        first = self.vocabulary.id("a")
        tokens = np.zeros((n, self.context_length), np.int32)
        tokens[:, 0] = hops
        tokens[:, 1 : start - 1] = first + sequence
        tokens[:, start - 1] = self.vocabulary.id("<ans>")
        if self.cot:
            tokens[:, start:] = np.where(chain[:, 1:] < 0, 0, first + chain[:, 1:])
        else:
            tokens[:, start] = first + chain[np.arange(n), hops]
        stop = start + (hops if self.cot else np.ones_like(hops))
        columns = np.arange(tokens.shape[1])
        begin = np.full(n, start)
        spans = {"sequence": (begin * 0 + 1, begin - 1), "answer": (begin, stop)}
        if self.cot:
            spans["result"] = (stop - 1, stop)
        return Batch(
            tokens,
            (columns >= start) & (columns < stop[:, None]),
            {name: np.stack(pair, axis=1).astype(np.int32) for name, pair in spans.items()},
            {f"hop.{j}": symbol.astype(np.int32) for j, symbol in enumerate(chain.T)},
            hops.astype(np.int32),
        )

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """`last_symbol`: from the last symbol alone, which the next on the way is not; `chance`.

        A model of few layers gets further (49 % with A = 4 in 2502.17416) by partial hops.
        """
        self.check_arguments(split, difficulty)
        hops = np.array(self.difficulties if difficulty is None else [difficulty])
        same = (1 + (self.alphabet - 1) * (-1.0 / (self.alphabet - 1)) ** hops) / self.alphabet
        other = (1 - same) / (self.alphabet - 1)
        return {
            "last_symbol": float(np.maximum(same, other).mean()),
            "chance": 1 / self.alphabet,
        }
