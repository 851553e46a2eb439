"""How many loops a training step runs: always the same, or drawn anew from (seed, step)."""

from collections.abc import Iterator
from math import exp, lgamma, log
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from generators.streams import Stream, generator


class LoopDraw(BaseModel):
    """A distribution over numbers of loops.

    `uniform` from `least` to `most`; `poisson` with the phase's loops (or the model's) as its
    mean, where what lies outside falls on the nearest end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["uniform", "poisson"] = Field(description="the distribution")
    least: int = Field(1, ge=1, description="fewest loops")
    most: int = Field(ge=1, description="most loops")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least {self.least} is more than most {self.most}")
        return self

    def probabilities(self, mean: int) -> dict[int, float]:
        """Number of loops -> its probability."""
        support = range(self.least, self.most + 1)
        if self.kind == "uniform":
            return dict.fromkeys(support, 1 / len(support))
        found = dict.fromkeys(support, 0.0)
        for n in range(self.most):
            found[max(n, self.least)] += exp(n * log(mean) - mean - lgamma(n + 1))
        found[self.most] += max(0.0, 1 - sum(found.values()))
        return found

    def draw(self, mean: int, seed: int, step: int) -> int:
        """Loops of a training step, a function of its arguments alone."""
        left = generator(seed, Stream.LOOPS, step).random()
        for loops, probability in self.probabilities(mean).items():
            left -= probability
            if left < 0:
                return loops
        return self.most  # rounding


def loops_of_step(draw: LoopDraw | None, loops: int, seed: int, step: int) -> int:
    """Loops of training step `step` (from 0 over the whole run)."""
    return loops if draw is None else draw.draw(loops, seed, step)


def expected_loops(draw: LoopDraw | None, loops: int) -> Iterator[tuple[int, float]]:
    """(loops, share of the steps that are expected to run so many)."""
    yield from ({loops: 1.0} if draw is None else draw.probabilities(loops)).items()
