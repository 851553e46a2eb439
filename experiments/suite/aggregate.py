"""One number over all axes: the interquartile mean, with a stratified bootstrap (2108.13264).

What is resampled are the seeds of each axis, so that every axis keeps its weight. With two or
three seeds such an interval is too narrow, as any bootstrap of so few is; the card says so.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

#: axis -> normalised values of its seeds
Strata = Mapping[str, Sequence[float]]
RESAMPLES = 2000


class Estimate(NamedTuple):
    """A number with its 95 % interval; None where no axis has two seeds."""

    value: float
    low: float | None
    high: float | None


def interquartile_mean(strata: Strata) -> Estimate:
    """The mean of the middle half of all values of all axes.

    Raises:
        ValueError: there are no values.
    """
    from scipy.stats import trim_mean

    def statistic(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        return trim_mean(np.concatenate(samples, axis), 0.25, axis)

    return _estimate(list(strata.values()), statistic)


def probability_of_improvement(mine: Strata, theirs: Strata) -> Estimate:
    """P(a run of mine is better than one of theirs), ties half, averaged over shared axes.

    On each axis it is the Mann-Whitney statistic divided by the number of pairs.

    Raises:
        ValueError: no axis is shared.
    """
    shared = [name for name in mine if name in theirs]
    n = len(shared)
    if not n:
        raise ValueError("there is no axis on which both have values")

    def statistic(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        pairs = zip(samples[:n], samples[n:], strict=True)
        return np.mean([_better(a, b) for a, b in pairs], 0)

    return _estimate([mine[k] for k in shared] + [theirs[k] for k in shared], statistic)


def _better(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of pairs in which a is better; `a` is (..., seeds of a), `b` (..., seeds of b)."""
    difference = a[..., :, None] - b[..., None, :]
    return ((difference > 0) + 0.5 * (difference == 0)).mean((-2, -1))


def _estimate(samples: list[Sequence[float]], statistic: Callable[..., np.ndarray]) -> Estimate:
    """The statistic of the samples, which it takes over their last axis, and its interval."""
    from scipy.stats import bootstrap

    arrays = [np.asarray(sample, float) for sample in samples]
    if not arrays:
        raise ValueError("there are no values")
    value = float(statistic(*arrays))
    if max(map(len, arrays)) < 2:
        return Estimate(value, None, None)
    # scipy wants two of each: one seed twice is resampled as itself
    twice = [np.repeat(a, 2) if len(a) == 1 else a for a in arrays]
    found = bootstrap(
        twice,
        statistic,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(found.low), float(found.high))
