"""Means between bounds: against beta quantiles, B-splines, drawn weights, and their coverage."""

import numpy as np
import pytest
from scipy import stats
from scipy.interpolate import BSpline

from generators.streams import Stream, generator
from probes.statistics import bounded_summary, p_above, p_below, summarise, summarise_seeds
from probes.statistics.bounded import share_below

FLOOR = 1 / 16


@pytest.mark.parametrize(("solved", "n"), [(0, 2), (2, 2), (1, 3), (3, 3), (6, 10), (39, 40)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_of_zeros_and_ones_it_is_clopper_and_pearson(solved: int, n: int, level: float) -> None:
    got = bounded_summary([1.0] * solved + [0.0] * (n - solved), level=level)
    want = stats.binomtest(solved, n).proportion_ci(level, method="exact")
    assert (got.low, got.high) == pytest.approx((want.low, want.high), abs=1e-12)
    assert (got.mean, got.n) == (pytest.approx(solved / n), n)


def test_of_equal_values_it_is_a_beta_quantile() -> None:
    """Of n values at x the ends are x·B for B ~ Beta(n, 1) and x + (1 - x)·B for B ~ Beta(1, n)."""
    got = bounded_summary([0.14] * 3)
    ends = 0.14 * stats.beta(3, 1).ppf(0.025), 0.14 + 0.86 * stats.beta(1, 3).ppf(0.975)
    assert (got.low, got.high) == pytest.approx(ends)
    wide = bounded_summary([0.28 - 1] * 3, (-1.0, 1.0))
    assert (wide.low, wide.high) == pytest.approx(tuple(2 * end - 1 for end in ends)), "any bounds"


@pytest.mark.parametrize("n", [3, 4, 12, 40])
def test_share_below_is_the_integral_of_a_b_spline(n: int) -> None:
    """A mean under even random weights has the density of a B-spline (Curry, Schoenberg 1966)."""
    knots = np.sort(generator(n, Stream.PROBE).random(n).round(1 if n < 5 else 9))
    spline = BSpline.basis_element(knots).antiderivative()
    total = (knots[-1] - knots[0]) / (n - 1)
    for at in np.linspace(knots[0], knots[-1], 7)[1:-1]:
        assert share_below(knots[::-1], at) == pytest.approx(float(spline(at)) / total, abs=1e-9)


def test_share_below_agrees_with_drawn_weights() -> None:
    points = [0.2, 0.5, 0.5, 0.9, 1.0]
    weights = generator(0, Stream.PROBE).dirichlet(np.ones(5), 200_000)
    found = np.mean(weights @ points < 0.6)
    assert share_below(points, 0.6) == pytest.approx(found, abs=0.005)
    assert share_below(points, 0.2) == 0.0 and share_below(points, 1.1) == 1.0


def test_interval_and_tests_say_the_same() -> None:
    x = generator(1, Stream.PROBE).random(7)
    got = bounded_summary(x, level=0.9)
    assert p_above(x, got.low) == pytest.approx(0.05)
    assert p_below(x, got.high) == pytest.approx(0.05)
    assert p_above(x, 0.0) == 0.0 and p_below(x, 1.0) == 0.0


def drawn(case: str, n: int, runs: int = 800) -> tuple[float, np.ndarray]:
    """(true mean, float[runs, n])."""
    rng = generator(n, Stream.PROBE)
    if case.startswith("bimodal"):  # a share of seeds solves it, the others stay at the floor
        share = float(case.split()[1])
        values = np.where(rng.random((runs, n)) < share, 1.0, FLOOR)
        return share + (1 - share) * FLOOR, values
    if case == "near 1":
        return 40 / 41, rng.beta(40, 1, (runs, n))
    return 0.5, rng.random((runs, n))


CASES = ["bimodal 0.5", "bimodal 0.9", "bimodal 0.02", "near 1", "even"]


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("case", CASES)
def test_interval_of_accuracies_covers_the_mean_and_can_be(case: str, n: int) -> None:
    mean, values = drawn(case, n)
    found = [bounded_summary(row) for row in values]
    assert np.mean([f.low <= mean <= f.high for f in found]) >= 0.935
    assert all(0 <= f.low < f.mean <= f.high <= 1 or f.mean == 0 for f in found)
    assert all(f.high - f.low > 0.05 for f in found), "never without width"


def test_the_t_interval_does_not_cover_bimodal_seeds() -> None:
    """The control: what the interval above is for."""
    mean, values = drawn("bimodal 0.9", 3)
    found = [summarise(row) for row in values]
    assert np.mean([f.low <= mean <= f.high for f in found]) < 0.4
    assert max(f.high for f in found) > 1.5


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize(("low", "high"), [(1.0, 1.4), (2.4, 2.73)])
def test_interval_of_bits_covers_also_near_its_ceiling(n: int, low: float, high: float) -> None:
    """Bits of one mode, up to the ceiling 2.73; ending the interval there costs no coverage."""
    values = generator(n, Stream.PROBE).uniform(low, high, (3000, n))
    found = [summarise_seeds(row, (0.0, 2.73)) for row in values]
    inside = np.mean([f.low <= (low + high) / 2 <= f.high for f in found])
    free = [summarise(row) for row in values]
    assert inside == np.mean([f.low <= (low + high) / 2 <= f.high for f in free])
    assert inside >= 0.91
    assert all(0 <= f.low < f.high <= 2.73 for f in found)
    assert max(f.high for f in free) > 2.73 or (low, n) != (2.4, 2), "or nothing was cut"


def test_equal_seeds_have_no_interval_without_width() -> None:
    assert summarise_seeds([1.3, 1.3]) == (1.3, None, None, 2)
    bits = summarise_seeds([1.3, 1.3], (0.0, 2.6))
    assert bits == bounded_summary([1.3, 1.3], (0.0, 2.6))
    assert bits.high - bits.low > 1
    assert summarise_seeds([1.3, 1.3 + 1e-12]).low is None, "rounding is no scatter"
    assert summarise_seeds([0.5], bimodal=True) == (0.5, None, None, 1)
    accuracy = summarise_seeds([1.0, 1.0, 0.08], (0.0, 1.0), bimodal=True)
    assert accuracy == bounded_summary([1.0, 1.0, 0.08])
    ordinary = [1.0, 1.2, 1.5]
    assert summarise_seeds(ordinary, (0.0, 9.0)) == summarise(ordinary)


@pytest.mark.parametrize(
    "call",
    [
        lambda: bounded_summary([]),
        lambda: bounded_summary([0.5, 1.2]),
        lambda: bounded_summary([0.5, float("nan")]),
        lambda: bounded_summary([0.5, 0.6], level=95),
        lambda: p_above([-0.1], 0.0),
        lambda: p_below([1.1], 0.0),
    ],
)
def test_bad_input_is_named(call) -> None:
    with pytest.raises(ValueError, match="got"):
        call()
