"""How many seeds a claim needs: the power of the paired t test, of McNemar's and of equivalence."""

from collections.abc import Callable
from math import inf, sqrt

import numpy as np

from probes.statistics.bounded import p_above, p_below

#: more seeds than this are not looked for
MOST = 10_000


def paired_power(effect: float, n: int, alpha: float = 0.05) -> float:
    """Chance that a two-sided paired t test of n pairs finds a true effect d_z = mean / sd.

    t is noncentral with n - 1 degrees of freedom and noncentrality effect · √n.

    Raises:
        ValueError: n < 2, or alpha outside (0, 1).
    """
    _check(n, alpha)
    from scipy.stats import nct, t

    centre = abs(effect) * sqrt(n)
    critical = float(t.ppf(1 - alpha / 2, n - 1))
    if centre == 0:
        return alpha
    return float(nct.sf(critical, n - 1, centre) + nct.cdf(-critical, n - 1, centre))


def equivalence_power(
    sd: float, margin: float, n: int, difference: float = 0.0, alpha: float = 0.05
) -> float:
    """Chance that TOST of n pairs concludes |mean| < margin, for a true difference.

    Over the distribution of the standard deviation s that will be measured, which is independent
    of the mean: the mean must fall within ±(margin - t_{1-alpha, n-1} · s / √n).

    Args:
        sd: of the differences between paired runs.
        margin, difference: in the unit of sd.

    Raises:
        ValueError: n < 2, a margin or sd that is not positive, or alpha outside (0, 1).
    """
    _check(n, alpha)
    if not (sd > 0 and margin > 0):
        raise ValueError(f"sd and margin are positive, got {sd} and {margin}")
    from scipy.integrate import quad
    from scipy.special import ndtr
    from scipy.stats import chi, t

    critical = float(t.ppf(1 - alpha, n - 1))
    error = sd / sqrt(n)

    def concludes(ratio: float) -> float:
        """Density of s / sd · √(n-1) = ratio, times the chance to conclude given it."""
        room = margin - critical * error * ratio / sqrt(n - 1)
        within = ndtr((room - difference) / error) - ndtr((-room - difference) / error)
        return float(within * chi.pdf(ratio, n - 1))

    widest = margin / (critical * error) * sqrt(n - 1)
    typical = sqrt(n - 1)  # the ratio's density is negligible 10 from there
    ends = max(0.0, typical - 10), min(widest, typical + 10)
    return float(quad(concludes, *ends, limit=200)[0]) if ends[0] < ends[1] else 0.0


def mcnemar_power(more: float, less: float, n: int, alpha: float = 0.05) -> float:
    """Chance that McNemar's exact test of n pairs finds that B solves more often, or less often.

    Over how many pairs differ, and how many of those go B's way.

    Args:
        more, less: chance of a pair that only B solves, and of one that only A solves.

    Raises:
        ValueError: n < 2, shares that are none or add up to more than 1, or alpha outside (0, 1).
    """
    _check(n, alpha)
    differ = more + less
    if min(more, less) < 0 or not 0 < differ <= 1:
        raise ValueError(f"shares add up to something up to 1, got {more} and {less}")
    from scipy.stats import binom

    m = np.arange(n + 1)
    # the most against the stream with which the two-sided test of m pairs has p < alpha
    most = binom.ppf(alpha / 2, m, 0.5).astype(int)
    most = np.where(2 * binom.cdf(most, m, 0.5) < alpha, most, most - 1)
    both = binom.cdf(most, m, more / differ) + binom.cdf(most, m, less / differ)
    return float(binom.pmf(m, n, differ) @ both)


def seeds_for_mcnemar(
    more: float, less: float, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Fewest seeds with which McNemar's test finds the difference; None: more than 10,000."""
    if more == less:
        return None
    return _fewest(lambda n: mcnemar_power(more, less, n, alpha), power)


def seeds_for_equal_shares(
    differences: np.ndarray, margin: float, alpha: float = 0.05
) -> int | None:
    """Fewest seeds that show equal shares if they go on to scatter as these, but about 0.

    None: more than 500.

    Args:
        differences: float[n] in [-1, 1] of paired runs, of which the mean is taken off.
    """
    centred = np.clip(differences - differences.mean(), -1.0, 1.0)

    def concludes(n: int) -> float:
        x, bounds = np.resize(centred, n), (-1.0, 1.0)
        return float(max(p_above(x, -margin, bounds), p_below(x, margin, bounds)) < alpha)

    return _fewest(concludes, 0.5, most=500)


def seeds_for_difference(effect: float, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """Fewest seeds with which a paired t test finds the effect d_z; None: more than 10,000."""
    return _fewest(lambda n: paired_power(effect, n, alpha), power)


def seeds_for_equivalence(
    sd: float, margin: float, difference: float = 0.0, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Fewest seeds with which TOST concludes equality; None: more than 10,000."""
    if abs(difference) >= margin:
        return None
    return _fewest(lambda n: equivalence_power(sd, margin, n, difference, alpha), power)


def _fewest(power_of: Callable[[int], float], wanted: float, most: int = MOST) -> int | None:
    """The fewest n with the wanted power, by bisection: power grows with n."""
    if not 0 < wanted < 1:
        raise ValueError(f"a power lies between 0 and 1, got {wanted}")
    low, high = 1, 2
    while power_of(high) < wanted:
        low, high = high, 2 * high
        if low >= most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= wanted else (middle, high)
    return high if high <= most else None


def _check(n: int, alpha: float) -> None:
    if n < 2:
        raise ValueError(f"differences vary from two pairs on, got n = {n}")
    if not 0 < alpha < inf or alpha >= 1:
        raise ValueError(f"alpha lies between 0 and 1, got {alpha}")
