"""Power against simulation, published values, and the tests it speaks of."""

import numpy as np
import pytest

from generators.streams import Stream, generator
from probes.statistics import (
    equivalence,
    equivalence_power,
    mcnemar_power,
    paired_difference,
    paired_power,
    seeds_for_difference,
    seeds_for_equal_shares,
    seeds_for_equivalence,
    seeds_for_mcnemar,
    sign_test,
)

RUNS = 1500


@pytest.mark.parametrize(("effect", "n"), [(1.0, 5), (2.0, 3), (-0.8, 10)])
def test_paired_power_agrees_with_simulation(effect: float, n: int) -> None:
    d = generator(n, Stream.PROBE).normal(effect, 1.0, (RUNS, n))
    zero = np.zeros(n)
    found = np.mean([paired_difference(zero, row).p < 0.05 for row in d])
    assert paired_power(effect, n) == pytest.approx(found, abs=0.03)


@pytest.mark.parametrize(
    ("sd", "n", "difference"), [(0.05, 5, 0.0), (0.08, 10, 0.02), (0.12, 5, 0.0), (0.1, 30, 0.05)]
)
def test_equivalence_power_agrees_with_simulation(sd: float, n: int, difference: float) -> None:
    d = generator(n, Stream.PROBE).normal(difference, sd, (RUNS, n))
    zero = np.zeros(n)
    found = np.mean([equivalence(zero, row, 0.1).verdict == "equal" for row in d])
    assert equivalence_power(sd, 0.1, n, difference) == pytest.approx(found, abs=0.03)


@pytest.mark.parametrize(("more", "less", "n"), [(0.6, 0.0, 10), (0.5, 0.2, 20), (0.1, 0.4, 12)])
def test_mcnemar_power_agrees_with_simulation(more: float, less: float, n: int) -> None:
    draws = generator(n, Stream.PROBE).random((RUNS // 3, n))
    signs = np.where(draws < more, 1, np.where(draws < more + less, -1, 0))
    found = np.mean([sign_test(np.zeros(n), row) < 0.05 for row in signs])
    assert mcnemar_power(more, less, n) == pytest.approx(found, abs=0.04)


def test_seeds_for_shares_solved() -> None:
    """If B always solves it and A never does, six pairs have p 2/64, and five 2/32."""
    assert seeds_for_mcnemar(1.0, 0.0) == 6
    n = seeds_for_mcnemar(0.6, 0.1)
    assert n is not None
    assert mcnemar_power(0.6, 0.1, n - 1) < 0.8 <= mcnemar_power(0.6, 0.1, n)
    assert seeds_for_mcnemar(0.3, 0.3) is None
    assert seeds_for_equal_shares(np.zeros(3), 0.05) == 59
    assert seeds_for_equal_shares(np.array([0.9, -0.9, 0.0]), 0.05) is None, "over 500"
    scattered = np.tile([0.02, -0.02], 200)
    n = seeds_for_equal_shares(scattered[:6], 0.05)
    assert n is not None and n > 59
    few, enough = (
        equivalence(0 * scattered[:k], scattered[:k], 0.05, shares=True) for k in (59, n)
    )
    assert (few.verdict, enough.verdict) == ("undecided", "equal")


def test_power_of_nothing_is_the_level_of_the_test() -> None:
    assert paired_power(0.0, 8, alpha=0.01) == 0.01
    # on the margin, with little noise, TOST is a single one-sided test
    assert equivalence_power(0.001, 0.1, 12, difference=0.1) == pytest.approx(0.05, abs=1e-6)


def test_seeds_as_published_for_the_paired_t_test() -> None:
    """G*Power 3.1, two-sided, alpha .05, power .8: d_z 0.5 needs 34 pairs, 0.8 15, 1.0 10."""
    assert [seeds_for_difference(d) for d in (0.5, 0.8, 1.0)] == [34, 15, 10]


def test_seeds_are_the_fewest_that_reach_the_power() -> None:
    n = seeds_for_difference(0.7, 0.9)
    assert n is not None and paired_power(0.7, n - 1) < 0.9 <= paired_power(0.7, n)
    n = seeds_for_equivalence(0.1, 0.1, 0.03)
    assert n is not None
    assert equivalence_power(0.1, 0.1, n - 1, 0.03) < 0.8 <= equivalence_power(0.1, 0.1, n, 0.03)


def test_out_of_reach_is_none() -> None:
    assert seeds_for_difference(1e-4) is None
    assert seeds_for_difference(0.0) is None
    assert seeds_for_equivalence(1.0, 1e-3) is None
    assert seeds_for_equivalence(0.1, 0.1, difference=0.1) is None, "not equal: never"
    assert seeds_for_difference(50.0) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: paired_power(1.0, 1),
        lambda: paired_power(1.0, 5, alpha=1.0),
        lambda: mcnemar_power(0.7, 0.4, 5),
        lambda: mcnemar_power(0.0, 0.0, 5),
        lambda: equivalence_power(0.0, 0.1, 5),
        lambda: equivalence_power(0.1, 0.0, 5),
        lambda: seeds_for_difference(1.0, power=1.0),
    ],
)
def test_bad_input_is_named(call) -> None:
    with pytest.raises(ValueError, match="got"):
        call()
