"""Intervals against scipy, textbook values and their own coverage."""

import numpy as np
import pytest
from scipy import stats

from generators.streams import Stream, generator
from probes.statistics import (
    best,
    bootstrap_interval,
    first_step,
    fraction_solved,
    has_converged,
    solved,
    summarise,
    wilson_interval,
)


@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_t_interval_agrees_with_scipy(n: int, level: float) -> None:
    x = generator(n, Stream.PROBE).normal(2.0, 0.3, n)
    got = summarise(x, level)
    low, high = stats.t.interval(level, n - 1, loc=x.mean(), scale=stats.sem(x))
    assert (got.mean, got.low, got.high) == pytest.approx((x.mean(), low, high), rel=1e-12)
    cut = summarise(x, level, (1.9, 2.1))
    assert (cut.low, cut.high) == (max(got.low, 1.9), min(got.high, 2.1)), "ends at its bounds"
    assert got.n == n


def test_t_interval_of_three_by_hand() -> None:
    # t_{2, .975} = 4.302653; s of 1, 2, 3 is 1
    assert summarise([1, 2, 3]).high == pytest.approx(2 + 4.302653 / 3**0.5, rel=1e-6)


def test_one_seed_has_no_interval() -> None:
    got = summarise([0.5])
    assert got == (0.5, None, None, 1)


def test_three_seed_interval_covers_95_percent() -> None:
    """And the normal quantile in place of t would cover far less: the test can fail."""
    x = generator(0, Stream.PROBE).normal(size=(4000, 3))
    rows = [summarise(row) for row in x]
    covered = np.mean([r.low <= 0 <= r.high for r in rows])
    narrow = np.mean([abs(r.mean) <= (r.high - r.mean) * 1.96 / 4.3027 for r in rows])
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


def _percentile(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ends of the interval, written out."""
    means = x[rng.integers(0, len(x), (9999, len(x)))].mean(1)
    return np.quantile(means, [0.025, 0.975])


def test_bootstrap_is_seeded_and_agrees_with_one_written_out() -> None:
    x = generator(1, Stream.PROBE).exponential(1.0, 40)
    got, again = (
        bootstrap_interval(x, generator(2, Stream.PROBE), method="percentile") for _ in range(2)
    )
    assert got == again and (got.mean, got.n) == (pytest.approx(x.mean()), 40)
    assert (got.low, got.high) == pytest.approx(_percentile(x, generator(3, Stream.PROBE)), 0.03)
    assert bootstrap_interval(x, generator(4, Stream.PROBE), method="percentile") != got


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_bootstrap_of_ten_covers_about_what_it_says(method) -> None:
    """Near .90 for ten values; of three the percentile interval covers .75 and is refused."""
    rng, rows = generator(5, Stream.PROBE), generator(6, Stream.PROBE).normal(size=(400, 10))
    found = [bootstrap_interval(row, rng, method=method, resamples=499) for row in rows]
    covered = np.mean([f.low <= 0 <= f.high for f in found])
    assert 0.86 < covered < 0.96
    three = generator(7, Stream.PROBE).normal(size=(400, 3))
    low, high = np.transpose([_percentile(row, rng) for row in three[:200]])
    assert np.mean((low <= 0) & (high >= 0)) < 0.85
    with pytest.raises(ValueError, match="needs 10 or more"):
        bootstrap_interval(three[0], rng)


def test_bca_follows_the_skew() -> None:
    """Of a skewed sample BCa reaches further into the long tail than the percentile interval."""
    x = generator(8, Stream.PROBE).exponential(1.0, 15)
    plain = bootstrap_interval(x, generator(9, Stream.PROBE), method="percentile")
    skewed = bootstrap_interval(x, generator(9, Stream.PROBE))
    assert skewed.low > plain.low and skewed.high > plain.high


def test_bootstrap_of_equal_values_has_no_width() -> None:
    got = bootstrap_interval([1.0] * 12, generator(0, Stream.PROBE))
    assert got == (1.0, 1.0, 1.0, 12)


def test_solved_counts_seeds_with_an_interval() -> None:
    got = solved([0.2, 0.95, 1.0])
    assert (got.count, got.n) == (2, 3)
    assert (got.low, got.high) == wilson_interval(2, 3)


def test_the_best_cannot_pass_for_a_mean() -> None:
    assert best([0.2, 0.9]) == (0.9, 2)
    assert not hasattr(best([0.2, 0.9]), "mean") and not hasattr(best([0.2, 0.9]), "low")


def test_first_step_in_any_order() -> None:
    assert first_step([300, 100, 200], [1.0, 0.1, 0.9], 0.9) == 200
    assert first_step([100, 200, 300], [0.95, 0.1, 0.2], 0.9) == 100, "the first, not the last"
    assert first_step([100, 200], [0.1, 0.2], 0.9) is None
    assert first_step([], [], 0.9) is None


def test_convergence_is_a_share() -> None:
    assert has_converged(2.0, 2.03) and has_converged(2.0, 1.97)
    assert not has_converged(2.0, 2.05)
    assert not has_converged(0.1, 0.11)


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
        lambda: bootstrap_interval([1.0] * 9, generator(0, Stream.PROBE)),
        lambda: first_step([1, 2], [1.0], 0.5),
    ],
)
def test_bad_input_is_named(call) -> None:
    with pytest.raises(ValueError, match=r"got|lies between"):
        call()
