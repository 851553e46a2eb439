"""Two arms: by how much they differ, whether they are equal, and Holm's correction for many.

Runs of two arms pair by seed (the same world, the same order of data), so their differences are
tested: of bits by Student's t, of accuracies by permutation and with the intervals of `bounded`.
Where no two differences differ there is no scatter to judge by, and the t tests give the p of
signs: 2¹⁻ⁿ for n pairs. scipy.stats costs a second to import and is left to those that need it.
"""

from collections.abc import Sequence
from math import exp, lgamma, sqrt
from typing import Literal, NamedTuple

import numpy as np

from probes.statistics.bounded import bounded_summary, p_above
from probes.statistics.intervals import UNBOUNDED, Bounds, Values, check_level, finite, vary

#: fewer seeds give no verdict on equivalence
FEWEST_FOR_EQUIVALENCE = 5
#: arms that reach this share of the most there is tie by construction
SATURATED = 0.9
#: of a difference of two accuracies or shares
SHARES: Bounds = (-1.0, 1.0)
#: sign flips of paired differences; all there are up to 16 pairs
FLIPS = 2**16


class Difference(NamedTuple):
    """b - a.

    Attributes:
        mean, sd: of the differences.
        low, high: interval of the mean; None where the differences do not differ.
        p: two-sided, of no difference.
        effect: d_z, mean / sd times Hedges' correction; None where it has no finite estimate.
        n: pairs.
    """

    mean: float
    low: float | None
    high: float | None
    sd: float
    p: float
    effect: float | None
    n: int


class Equivalence(NamedTuple):
    """Two one-sided tests of |mean of b - a| < margin.

    Attributes:
        mean, low, high: difference and its 90 % t interval.
        p: the larger of the two one-sided ones.
        p_apart: of |mean of b - a| <= margin (McCarthy and Smyth 2009): of the difference
            seen or a larger one, either way, if the true one is the margin.
        verdict: `equal`: p < alpha, the interval lies within the margin; `different`: p_apart <
            alpha, it lies outside; `undecided`: neither; `none`: not asked, for the reason given.
    """

    mean: float
    low: float | None
    high: float | None
    sd: float | None
    p: float | None
    p_apart: float | None
    margin: float
    n: int
    verdict: Literal["equal", "different", "undecided", "none"]
    reason: str = ""


def hedges_correction(freedom: int) -> float:
    """Γ(m/2) / (√(m/2) · Γ((m-1)/2)): makes d unbiased for m degrees of freedom (Hedges 1981).

    Raises:
        ValueError: one degree of freedom or none, where d has no mean.
    """
    if freedom < 2:
        raise ValueError(f"Hedges' correction needs 2 or more degrees of freedom, got {freedom}")
    return exp(lgamma(freedom / 2) - lgamma((freedom - 1) / 2)) / sqrt(freedom / 2)


def paired_difference(
    a: Values, b: Values, level: float = 0.95, bounds: Bounds = UNBOUNDED
) -> Difference:
    """b - a of runs that pair: paired t test, t interval that ends at the bounds, and d_z.

    Raises:
        ValueError: fewer than two pairs, or different numbers of values.
    """
    d = _pairs(a, b, level)
    from scipy.special import stdtrit

    mean, sd, n = float(d.mean()), float(d.std(ddof=1)), int(d.size)
    p = min(1.0, 2 * _tail(d, 0.0) if mean > 0 else 2 * _tail(-d, 0.0))
    if not vary(d):
        return Difference(mean, None, None, sd, p, None, n)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * sd / sqrt(n)
    ends = max(mean - half, bounds[0]), min(mean + half, bounds[1])
    return Difference(mean, *ends, sd, p, _effect(mean, sd, n), n)


def paired_shares(a: Values, b: Values, level: float = 0.95) -> Difference:
    """b - a of accuracies or shares that pair: permutation test and an interval in [-1, 1].

    p is the share of all ways to swap the arms within pairs that bring the means as far apart
    (of 65,536 ways, drawn with a fixed seed, from 17 pairs on); it is 2¹⁻ⁿ or more. The interval
    is that of `bounded_summary`, which allows for seeds of a kind not seen yet, so that it can
    hold 0 where p is small.

    Raises:
        ValueError: fewer than two pairs, different numbers of values, or a value outside [0, 1].
    """
    d = _pairs(a, b, level)
    found = bounded_summary(d, SHARES, level)
    sd = float(d.std(ddof=1))
    p = _permutation(d)
    effect = _effect(found.mean, sd, found.n) if vary(d) else None
    return Difference(found.mean, found.low, found.high, sd, p, effect, found.n)


def equivalence(
    a: Values,
    b: Values,
    margin: float,
    *,
    ceiling: float | tuple[float, float] | None = None,
    shares: bool = False,
    alpha: float = 0.05,
) -> Equivalence:
    """TOST of paired runs (Schuirmann 1987): is the difference within ± margin?

    Args:
        margin: the smallest difference that would matter, in the unit of the values.
        ceiling: the most a value can be, such as R_max, or that of a and of b; None: there is none.
        shares: whether values are accuracies or shares: tests and interval are then those of
            `bounded`, which need 59 seeds that agree for a margin of .05.
        alpha: of each one-sided test; the interval has level 1 - 2·alpha.

    Fewer than five pairs, or an arm at nine tenths of the ceiling, give no verdict.

    Raises:
        ValueError: no values, different numbers of them, or a margin that is not positive.
    """
    if not margin > 0:
        raise ValueError(f"a margin is positive, got {margin}")
    x, y = finite(a), finite(b)
    if len(x) == len(y) == 1:
        reason = _no_verdict(x, y, ceiling)
        return Equivalence(float(y[0] - x[0]), *(None,) * 5, margin, 1, "none", reason)
    d, level = _pairs(x, y, 1 - 2 * alpha), 1 - 2 * alpha
    tail = _tail_of_shares if shares else _tail
    low, high = bounded_summary(d, SHARES, level)[1:3] if shares else _ends(x, y, level, ceiling)
    p = max(tail(d, -margin), tail(-d, -margin))
    away = d if d.mean() > 0 else -d
    p_apart = min(1.0, tail(away, margin) + tail(away, -margin))
    measured = float(d.mean()), low, high, float(d.std(ddof=1)), p, p_apart, margin, int(d.size)
    if reason := _no_verdict(x, y, ceiling):
        return Equivalence(*measured, "none", reason)
    if p < alpha:
        return Equivalence(*measured, "equal")
    return Equivalence(*measured, "different" if p_apart < alpha else "undecided")


def sign_test(a: Values, b: Values) -> float:
    """Two-sided exact p of b > a as often as b < a, ties left out; infinite values are ordered.

    For steps at which a skill emerges, where never is infinite. Of seeds that solve it, 1 or 0, it
    is McNemar's exact test. 1 where every pair ties.

    Raises:
        ValueError: different numbers of values, or none.
    """
    x, y = np.asarray(a, float), np.asarray(b, float)
    if x.shape != y.shape or not x.size:
        raise ValueError(f"needed pairs, got {x.size} and {y.size} values")
    from scipy.stats import binomtest

    more, less = int((y > x).sum()), int((y < x).sum())
    return float(binomtest(more, more + less).pvalue) if more + less else 1.0


def fisher_test(count_a: int, n_a: int, count_b: int, n_b: int) -> float:
    """Two-sided exact p of equal shares count / n of two arms (Fisher 1935).

    Seeds count as independent; what runs of one seed share makes the test cautious.

    Raises:
        ValueError: a count outside 0 … n, or no seeds.
    """
    if not (0 <= count_a <= n_a and 0 <= count_b <= n_b and n_a and n_b):
        raise ValueError(f"needed counts of seeds, got {count_a} of {n_a}, {count_b} of {n_b}")
    from scipy.stats import fisher_exact

    return float(fisher_exact([[count_a, n_a - count_a], [count_b, n_b - count_b]]).pvalue)


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjusted p values, float64[m], in the order given (Holm 1979): the family errs ≤ alpha.

    Raises:
        ValueError: a p outside [0, 1].
    """
    x = np.asarray(p, float)
    if not ((x >= 0) & (x <= 1)).all():
        raise ValueError(f"p values lie between 0 and 1, got {x.tolist()}")
    order = np.argsort(x, kind="stable")
    adjusted = np.maximum.accumulate(x[order] * np.arange(x.size, 0, -1))
    found = np.empty_like(x)
    found[order] = np.minimum(adjusted, 1.0)
    return found


def _pairs(a: Values, b: Values, level: float) -> np.ndarray:
    check_level(level)
    x, y = finite(a, 2), finite(b, 2)
    if x.size != y.size:
        raise ValueError(f"needed pairs, got {x.size} and {y.size} values")
    return y - x


def _effect(mean: float, sd: float, n: int) -> float | None:
    return hedges_correction(n - 1) * mean / sd if n > 2 and sd > 0 else None


def _ends(
    a: np.ndarray, b: np.ndarray, level: float, ceiling: float | tuple[float, float] | None
) -> tuple[float | None, float | None]:
    """The t interval of b - a, which lies between minus the most of a and the most of b."""
    most = np.broadcast_to(np.inf if ceiling is None else ceiling, 2)
    return paired_difference(a, b, level, (-float(most[0]), float(most[1])))[1:3]


def _tail(d: np.ndarray, at: float) -> float:
    """One-sided p of a mean ≤ `at` by Student's t; by signs where nothing varies."""
    mean, n = float(d.mean()) - at, len(d)
    if not vary(d):
        return 1.0 if abs(mean) <= 1e-12 or mean < 0 else 0.5**n
    from scipy.special import stdtr

    return float(stdtr(n - 1, -mean / (d.std(ddof=1) / sqrt(n))))


def _tail_of_shares(d: np.ndarray, at: float) -> float:
    """One-sided p of a mean ≤ `at` of differences in [-1, 1]."""
    return p_above(d, at, SHARES)


def _permutation(d: np.ndarray) -> float:
    if not d.any():
        return 1.0
    from scipy.stats import permutation_test

    found = permutation_test(
        (d,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=FLIPS,
        batch=2**12,
        rng=0,
    )
    return float(found.pvalue)


def _no_verdict(a: np.ndarray, b: np.ndarray, ceiling: float | tuple[float, float] | None) -> str:
    if len(a) < FEWEST_FOR_EQUIVALENCE:
        pairs = "1 pair" if len(a) == 1 else f"{len(a)} pairs"
        return f"{pairs} of seeds, and equivalence needs {FEWEST_FOR_EQUIVALENCE}"
    if ceiling is None:
        return ""
    reached = float((np.array([a.mean(), b.mean()]) / ceiling).max())
    if reached < SATURATED:
        return ""
    return (
        f"saturated: an arm reaches {reached:.0%} of the most there is, and arms at "
        f"{SATURATED:.0%} or more tie by construction"
    )
