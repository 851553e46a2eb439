"""How large the problems of Depo and Brevo are in training: many small ones, few large ones."""

from functools import cache
from math import sqrt
from typing import Literal

import numpy as np

#: nodes of the smallest problem
SMALLEST = 3

SizeLaw = Literal["harmonic", "uniform"]


@cache
def size_law(largest: int, law: SizeLaw = "harmonic") -> np.ndarray:
    """Probabilities of the sizes n = 3 … N, float64[N-2].

    `harmonic`: P(n) ∝ 1 / (n + √N), as in the published code and the sampling paragraph of
    2512.17351; `uniform`: as one sentence there says.
    """
    n = np.arange(SMALLEST, largest + 1)
    weight = 1 / (n + sqrt(largest)) if law == "harmonic" else np.ones(len(n))
    return weight / weight.sum()


def draw_sizes(
    rng: np.random.Generator, n: int, largest: int, law: SizeLaw = "harmonic"
) -> np.ndarray:
    """n sizes drawn from the law, int64[n]."""
    edges = np.cumsum(size_law(largest, law))[:-1]
    return SMALLEST + np.searchsorted(edges, rng.random(n), side="right")
