"""Statistics of the runs of one arm, and of one run's curve.

The mean over seeds and the best of them answer different questions. They have different types
here, so that one cannot pass for the other.
"""

from typing import NamedTuple

import numpy as np

from probes.statistics.bounded import bounded_summary
from probes.statistics.intervals import (
    UNBOUNDED,
    Bounds,
    Summary,
    Values,
    finite,
    summarise,
    vary,
    wilson_interval,
)

#: accuracy at which a run counts as having solved its questions
SOLVED = 0.95
#: doubling the exposures changes bits per parameter by less than this in a converged cell
CONVERGED_WITHIN = 0.02


class Share(NamedTuple):
    """`count` of `n` runs, with the Wilson interval of the share."""

    count: int
    n: int
    low: float
    high: float


class Best(NamedTuple):
    """The best of n runs. It grows with n, has no interval, and is no estimate of a mean."""

    value: float
    n: int


def summarise_seeds(
    values: Values, bounds: Bounds = UNBOUNDED, *, bimodal: bool = False, level: float = 0.95
) -> Summary:
    """Mean over seeds with an interval that lies within `bounds` and never has no width.

    Accuracies and other shares are `bimodal`: see `probes.statistics.bounded`. Other quantities,
    such as bits, have one mode, and a t interval that ends at their bounds; where no two seeds
    differ, that of `bounded`, or none if there are no bounds. One seed has no interval.

    Raises:
        ValueError: no values, one that is not finite or, where bounds matter, out of bounds.
    """
    x = finite(values)
    if bimodal or (not vary(x) and UNBOUNDED[0] < bounds[0] and bounds[1] < UNBOUNDED[1]):
        return bounded_summary(x, bounds, level)
    found = summarise(x, level, bounds)
    return found if vary(x) else found._replace(low=None, high=None)


def solved(values: Values, level: float = SOLVED, confidence: float = 0.95) -> Share:
    """How many seeds reach `level`: results of manipulation are bimodal.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    x = finite(values)
    count = int((x >= level).sum())
    return Share(count, x.size, *wilson_interval(count, x.size, confidence))


def fraction_solved(values: Values, level: float = SOLVED) -> float:
    """Share of seeds whose accuracy reaches `level`.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    found = solved(values, level)
    return found.count / found.n


def best(values: Values) -> Best:
    """The largest value, with the number of values.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    x = finite(values)
    return Best(float(x.max()), x.size)


def first_step(steps: Values, values: Values, level: float) -> int | None:
    """First evaluated step at which a metric reaches `level` (emergence); None if it never does.

    Args:
        steps, values: of one curve, in any order.

    Raises:
        ValueError: of different lengths.
    """
    at, x = np.asarray(steps), np.asarray(values, float)
    if at.shape != x.shape:
        raise ValueError(f"needed a value for every step, got {at.size} steps, {x.size} values")
    reached = at[x >= level]
    return int(reached.min()) if reached.size else None


def has_converged(value: float, doubled: float, within: float = CONVERGED_WITHIN) -> bool:
    """Whether twice the exposures change a capacity by less than a share `within` of it."""
    return abs(doubled - value) < within * abs(value)
