"""How many loops training runs: always the same, or drawn anew from (seed, step)."""

from collections.abc import Iterator
from functools import cache
from math import exp, lgamma, log
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from experiments.config.frozen import Frozen
from generators.streams import Stream, generator

#: where the rates of `lognormal_poisson` are integrated, in standard deviations of their logarithm
DEVIATIONS = np.linspace(-10, 10, 2001)


class LoopDraw(Frozen):
    """A distribution over numbers of loops.

    `uniform` from `least` to `most`; `poisson` with the phase's loops (or the model's) as its
    mean; `lognormal_poisson` with the same mean and a heavy tail: 1 + Poisson(e^τ) with τ normal
    of standard deviation σ and E[e^τ] = loops - 1 (Geiping et al. 2502.05171, §3.3, where σ = .5);
    `list` one of some numbers. What lies outside of `least` … `most` falls on the nearest end.
    """

    kind: Literal["uniform", "poisson", "lognormal_poisson", "list"] = Field(
        description="the distribution"
    )
    least: int = Field(1, ge=1, description="fewest loops")
    most: int | None = Field(None, ge=1, description="most loops; a list has none, others need it")
    sigma: float | None = Field(
        None, gt=0, le=3, description="σ of lognormal_poisson; None: .5, of no other kind"
    )
    among: tuple[int, ...] | None = Field(
        None, min_length=1, description="numbers of loops of a list, fewest first"
    )
    weights: tuple[float, ...] | None = Field(
        None, description="of the numbers of a list; None: equal"
    )
    per: Literal["step", "document"] = Field(
        "step", description="whether all documents of a step run as many loops, or each its own"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        listed = self.kind == "list"
        for name, belongs in (
            ("sigma", self.kind == "lognormal_poisson"),
            ("among", listed),
            ("weights", listed),
            ("most", not listed),
        ):
            if getattr(self, name) is not None and not belongs:
                raise ValueError(f"{name} means nothing to a draw of kind {self.kind}")
        if listed:
            self._check_list()
        elif self.most is None:
            raise ValueError(f"a draw of kind {self.kind} needs most, the most loops of a step")
        elif self.least > self.most:
            raise ValueError(f"least {self.least} is more than most {self.most}")
        return self

    def _check_list(self) -> None:
        if self.among is None:
            raise ValueError("a draw of kind list needs among, the numbers of loops")
        if self.least != 1:
            raise ValueError("least means nothing to a draw of kind list")
        if self.among[0] < 1 or list(self.among) != sorted(set(self.among)):
            raise ValueError(
                f"among {list(self.among)} needs to be numbers of loops from 1 on, each once, "
                "fewest first"
            )
        weights = self.weights
        if weights is None:
            return
        if len(weights) != len(self.among) or min(weights) < 0 or max(weights) == 0:
            raise ValueError(
                f"weights {list(weights)} needs one number for each of {list(self.among)} loops, "
                "0 or more and not all 0"
            )

    @property
    def largest(self) -> int:
        """The most loops that can be drawn."""
        if self.among is not None:
            return self.among[-1]
        assert self.most is not None
        return self.most

    def probabilities(self, mean: int) -> dict[int, float]:
        """Number of loops -> its probability."""
        if self.among is not None:
            weights = np.array(self.weights or [1.0] * len(self.among))
            weights /= weights.max()
            return dict(zip(self.among, (weights / weights.sum()).tolist(), strict=True))
        support = range(self.least, self.largest + 1)
        if self.kind == "uniform":
            return dict.fromkeys(support, 1 / len(support))
        found = dict.fromkeys(support, 0.0)
        for n in range(self.largest):
            found[max(n, self.least)] += self._probability(n, mean)
        found[self.largest] += max(0.0, 1 - sum(found.values()))
        return found

    def _probability(self, n: int, mean: int) -> float:
        """Of n before what lies outside is moved."""
        if self.kind == "poisson":
            return exp(n * log(mean) - mean - lgamma(n + 1))
        return _lognormal_poisson(n, mean, 0.5 if self.sigma is None else self.sigma)

    def draw(self, mean: int, seed: int, step: int) -> int:
        """Loops of a training step, a function of its arguments alone."""
        return int(self.draw_each(mean, seed, step, 1)[0])

    def draw_each(self, mean: int, seed: int, step: int, documents: int) -> np.ndarray:
        """Loops of every document of a training step, int64[B]; the first is that of `draw`."""
        left = generator(seed, Stream.LOOPS, step).random(documents)
        found = np.full(documents, self.largest)  # rounding may leave some beyond the last
        waiting = np.ones(documents, bool)
        for loops, probability in self.probabilities(mean).items():
            left -= probability
            found[waiting & (left < 0)] = loops
            waiting &= left >= 0
        return found


@cache
def _lognormal_poisson(n: int, mean: int, sigma: float) -> float:
    """P(1 + Poisson(e^τ) = n) with τ ~ N(ln(mean - 1) - σ²/2, σ); asked for at every step."""
    if n == 0 or mean == 1:
        return float(n == mean == 1)
    weight = np.exp(-(DEVIATIONS**2) / 2)
    tau = log(mean - 1) - sigma**2 / 2 + sigma * DEVIATIONS
    chances = np.exp((n - 1) * tau - np.exp(tau) - lgamma(n))
    return float(weight @ chances / weight.sum())


def loops_of_step(draw: LoopDraw | None, loops: int, seed: int, step: int) -> int:
    """Loops of training step `step` (from 0 over the whole run)."""
    return loops if draw is None else draw.draw(loops, seed, step)


def loops_of_documents(
    draw: LoopDraw | None, loops: int, seed: int, step: int, documents: int
) -> np.ndarray:
    """Loops of each document of training step `step`, int64[B]."""
    if draw is not None and draw.per == "document":
        return draw.draw_each(loops, seed, step, documents)
    return np.full(documents, loops_of_step(draw, loops, seed, step))


def expected_loops(draw: LoopDraw | None, loops: int) -> Iterator[tuple[int, float]]:
    """(loops, share of the documents that are expected to run so many)."""
    yield from ({loops: 1.0} if draw is None else draw.probabilities(loops)).items()
