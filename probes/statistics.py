"""Intervals: over items by Wilson, over seeds by Student's t. Nothing here draws random numbers.

A percentile bootstrap of three seeds covers 75 %, not 95 %, so seeds get a t interval.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np


class Summary(NamedTuple):
    """Mean of n independent values with its t interval; `low` and `high` are None for n = 1."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def half_width(self) -> float | None:
        """Half the interval, the number after ±."""
        return None if self.high is None else self.high - self.mean


def summarise(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Summary:
    """Mean and t interval over seeds: mean ± t_{n-1} · s/√n, s with n-1 in the denominator.

    One value has no interval. Values are not clipped, so an interval of accuracies may pass 1.

    Raises:
        ValueError: no values, a value that is not finite, or a level outside (0, 1).
    """
    x = np.asarray(values, float)
    _check_level(level)
    if not x.size:
        raise ValueError("a mean needs at least one value, got none")
    if not np.isfinite(x).all():
        raise ValueError(f"values must be finite, got {x.tolist()}")
    mean = float(x.mean())
    if x.size == 1:
        return Summary(mean, None, None, 1)
    from scipy.special import stdtrit  # the t quantile alone, without all of scipy.stats

    half = float(stdtrit(x.size - 1, (1 + level) / 2) * x.std(ddof=1) / sqrt(x.size))
    return Summary(mean, mean - half, mean + half, int(x.size))


def wilson_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927), which stays in [0, 1] and suits 0 and n.

    Raises:
        ValueError: n < 1, successes outside 0 … n, or a level outside (0, 1).
    """
    _check_level(level)
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"needed 0 ≤ successes ≤ n and n ≥ 1, got {successes} of {n}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # exact at the ends, where rounding would leave 1e-17
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)


def fraction_solved(values: Sequence[float] | np.ndarray, level: float = 0.95) -> float:
    """Share of seeds whose accuracy reaches `level`: results of manipulation are bimodal.

    Raises:
        ValueError: no values.
    """
    x = np.asarray(values, float)
    if not x.size:
        raise ValueError("a fraction needs at least one value, got none")
    return float((x >= level).mean())


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"an interval's level lies between 0 and 1, got {level}")
