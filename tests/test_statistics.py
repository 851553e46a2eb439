"""Intervals against scipy, textbook values and their own coverage."""

import numpy as np
import pytest
from scipy import stats

from generators.streams import Stream, generator
from probes.statistics import fraction_solved, summarise, wilson_interval


@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_t_interval_agrees_with_scipy(n: int, level: float) -> None:
    x = generator(n, Stream.PROBE).normal(2.0, 0.3, n)
    got = summarise(x, level)
    low, high = stats.t.interval(level, n - 1, loc=x.mean(), scale=stats.sem(x))
    assert (got.mean, got.low, got.high) == pytest.approx((x.mean(), low, high), rel=1e-12)
    assert got.half_width == pytest.approx((high - low) / 2)
    assert got.n == n


def test_t_interval_of_three_by_hand() -> None:
    # t_{2, .975} = 4.302653; s of 1, 2, 3 is 1
    assert summarise([1, 2, 3]).half_width == pytest.approx(4.302653 / 3**0.5, rel=1e-6)


def test_one_seed_has_no_interval() -> None:
    got = summarise([0.5])
    assert got == (0.5, None, None, 1)
    assert got.half_width is None


def test_three_seed_interval_covers_95_percent() -> None:
    """And the normal quantile in place of t would cover far less: the test can fail."""
    x = generator(0, Stream.PROBE).normal(size=(4000, 3))
    rows = [summarise(row) for row in x]
    covered = np.mean([r.low <= 0 <= r.high for r in rows])
    narrow = np.mean([abs(r.mean) <= r.half_width * 1.96 / 4.3027 for r in rows])
    assert covered == pytest.approx(0.95, abs=0.015)
    assert narrow < 0.85


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (1, 1), (37, 100), (511, 512)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_agrees_with_scipy(successes: int, n: int, level: float) -> None:
    want = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert wilson_interval(successes, n, level) == pytest.approx((want.low, want.high), abs=1e-12)


def test_wilson_stays_inside() -> None:
    assert wilson_interval(0, 20)[0] == 0.0
    assert wilson_interval(20, 20)[1] == 1.0


def test_fraction_solved() -> None:
    assert fraction_solved([0.2, 0.95, 1.0]) == pytest.approx(2 / 3)
    assert fraction_solved([0.2, 0.95, 1.0], level=0.99) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: summarise([]),
        lambda: summarise([1.0, float("nan")]),
        lambda: summarise([1.0, 2.0], level=95),
        lambda: wilson_interval(3, 2),
        lambda: wilson_interval(0, 0),
        lambda: wilson_interval(1, 2, level=1.0),
        lambda: fraction_solved([]),
    ],
)
def test_bad_input_is_named(call) -> None:
    with pytest.raises(ValueError, match=r"got|lies between"):
        call()
