"""Mean of values between two bounds, whatever their distribution: interval and tests.

Accuracies over seeds are bimodal: a seed solves its questions or stays at the floor. A t interval
of three such seeds leaves [0, 1], has no width where the three agree, and covers 27 % instead of
95 % where one seed in ten fails. Nothing is assumed here but the bounds: a mean of the sample and
one bound, weighted evenly at random (Dirichlet(1, …, 1), the Bayesian bootstrap with one value
more), has the quantiles that are the ends of the interval (Gaffke 2005; Learned-Miller and
Thomas, 1905.06208). For values at the bounds alone these are the beta quantiles of Clopper and
Pearson; for others the coverage is proven for no n but conjectured, and simulations of
`tests/probes/statistics/test_bounded.py` and of the papers find none below the level. The
interval is wide for few seeds that agree, since a seed of another kind may not have been seen yet.
"""

from collections.abc import Iterable

from probes.statistics.intervals import Bounds, Summary, Values, check_level, finite

#: halvings of the range: the ends are exact to its 2⁻⁵⁰th part
HALVINGS = 50


def bounded_summary(values: Values, bounds: Bounds = (0.0, 1.0), level: float = 0.95) -> Summary:
    """Mean of independent values in `bounds` with its interval, which stays inside and has width.

    One value has no interval.

    Raises:
        ValueError: no values, one that is not finite or out of bounds, or a level outside (0, 1).
    """
    check_level(level)
    x = _within(values, bounds)
    mean, n = sum(x) / len(x), len(x)
    if n == 1:
        return Summary(mean, None, None, 1)
    tail = (1 - level) / 2
    low = _quantile([*x, bounds[0]], tail, bounds)
    return Summary(mean, low, _quantile([*x, bounds[1]], 1 - tail, bounds), n)


def p_above(values: Values, at: float, bounds: Bounds = (0.0, 1.0)) -> float:
    """One-sided p of a mean ≤ `at`: small where the mean lies above. Its interval's lower end.

    Raises:
        ValueError: no values, or one that is not finite or out of bounds.
    """
    return share_below([*_within(values, bounds), bounds[0]], at)


def p_below(values: Values, at: float, bounds: Bounds = (0.0, 1.0)) -> float:
    """One-sided p of a mean ≥ `at`: small where the mean lies below. Its interval's upper end.

    Raises:
        ValueError: no values, or one that is not finite or out of bounds.
    """
    return 1 - share_below([*_within(values, bounds), bounds[1]], at)


def share_below(points: Iterable[float], at: float) -> float:
    """P(Σ wᵢ·xᵢ < at) for weights w uniform on the simplex (Varsi 1973), exact and stable.

    It is the share of a simplex on one side of a plane. No term is subtracted.
    """
    below, above = [], []
    for x in points:
        (below if x < at else above).append(abs(x - at))
    share = [0.0] + [1.0] * len(below)
    for a in above:
        for k, b in enumerate(below, 1):
            share[k] = (b * share[k] + a * share[k - 1]) / (a + b)
    return share[-1]


def _quantile(points: list[float], share: float, bounds: Bounds) -> float:
    low, high = bounds
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if share_below(points, middle) < share else (low, middle)
    # the ends are met where all points lie there
    return min(points) if min(points) == max(points) else (low + high) / 2


def _within(values: Values, bounds: Bounds) -> list[float]:
    x = finite(values)
    if x.min() < bounds[0] or x.max() > bounds[1]:
        raise ValueError(f"values lie from {bounds[0]:g} to {bounds[1]:g}, got {x.tolist()}")
    return x.tolist()
