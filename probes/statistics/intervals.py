"""Intervals: of means by Student's t, over items by the bootstrap, of proportions by Wilson.

A percentile bootstrap of three seeds covers 75 %, not 95 %, so it is for items. Accuracies over
seeds, which are bimodal, have `probes.statistics.bounded`.
"""

from collections.abc import Sequence
from math import inf, sqrt
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

Values = Sequence[float] | np.ndarray
#: the least and the most that a value can be
Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-inf, inf)
#: the bootstrap is refused to fewer values
FEWEST_FOR_BOOTSTRAP = 10
#: values drawn at once by the bootstrap
CHUNK = 2**20


class Summary(NamedTuple):
    """Mean of n independent values with its interval; `low` and `high` are None where unknown."""

    mean: float
    low: float | None
    high: float | None
    n: int


def summarise(values: Values, level: float = 0.95, bounds: Bounds = UNBOUNDED) -> Summary:
    """Mean and t interval: mean ± t_{n-1} · s/√n, s with n-1 in the denominator.

    One value has no interval. An interval ends at the `bounds` of the values: what is cut off
    cannot hold their mean, so that the coverage stays what it is.

    Raises:
        ValueError: no values, a value that is not finite, or a level outside (0, 1).
    """
    check_level(level)
    x = finite(values)
    mean = float(x.mean())
    if x.size == 1:
        return Summary(mean, None, None, 1)
    from scipy.special import stdtrit  # the t quantile alone, without all of scipy.stats

    half = float(stdtrit(x.size - 1, (1 + level) / 2) * x.std(ddof=1) / sqrt(x.size))
    return Summary(mean, max(mean - half, bounds[0]), min(mean + half, bounds[1]), int(x.size))


def vary(x: np.ndarray) -> bool:
    """Whether values differ by more than rounding: else their scatter says nothing of chance."""
    return bool(np.ptp(x) > 1e-9 * max(1.0, float(np.abs(x).max())))


def bootstrap_interval(
    values: Values,
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    method: Literal["BCa", "percentile"] = "BCa",
    resamples: int = 9999,
) -> Summary:
    """Mean of items, or of ten and more seeds, with a bootstrap interval.

    BCa (Efron 1987) corrects the percentile interval for bias and skew. Equal values have an
    interval of no width.

    Raises:
        ValueError: fewer than ten values, a value that is not finite, or a level outside (0, 1).
    """
    check_level(level)
    x = finite(values)
    if x.size < FEWEST_FOR_BOOTSTRAP:
        raise ValueError(
            f"a bootstrap needs {FEWEST_FOR_BOOTSTRAP} or more values to cover what it says, "
            f"got {x.size}; use the t interval"
        )
    mean = float(x.mean())
    if x.min() == x.max():
        return Summary(mean, mean, mean, int(x.size))
    from scipy.stats import bootstrap

    interval = bootstrap(
        (x,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, CHUNK // x.size),
        confidence_level=level,
        method=method,
        rng=rng,
    ).confidence_interval
    return Summary(mean, float(interval.low), float(interval.high), int(x.size))


def wilson_interval(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927), which stays in [0, 1] and suits 0 and n.

    Also for the mean of n numbers in [0, 1], whose sum is then `successes`: they vary at most as
    much as ones and zeros with that mean, so the interval is rather too wide.

    Raises:
        ValueError: n < 1, successes outside 0 … n, or a level outside (0, 1).
    """
    check_level(level)
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"needed 0 ≤ successes ≤ n and n ≥ 1, got {successes} of {n}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # exact at the ends, where rounding would leave 1e-17
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)


def finite(values: Values, least: int = 1) -> np.ndarray:
    """float64[n]. Raises ValueError for fewer than `least` values or one that is not finite."""
    x = np.asarray(values, float)
    if x.ndim != 1 or x.size < least:
        raise ValueError(f"needed a row of {least} or more values, got {x.size}")
    if not np.isfinite(x).all():
        raise ValueError(f"values must be finite, got {x.tolist()}")
    return x


def check_level(level: float) -> None:
    """Raises ValueError unless 0 < level < 1."""
    if not 0 < level < 1:
        raise ValueError(f"an interval's level lies between 0 and 1, got {level}")
