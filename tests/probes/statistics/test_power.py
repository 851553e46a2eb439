"""Power against simulation, published values, and the tests it speaks of."""

import numpy as np
import pytest

from generators.streams import Stream, generator
from probes.statistics import (
    equivalence,
    equivalence_power,
    paired_difference,
    paired_power,
    seeds_for_difference,
    seeds_for_equivalence,
)

RUNS = 3000


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
        lambda: equivalence_power(0.0, 0.1, 5),
        lambda: equivalence_power(0.1, 0.0, 5),
        lambda: seeds_for_difference(1.0, power=1.0),
    ],
)
def test_bad_input_is_named(call) -> None:
    with pytest.raises(ValueError, match="got"):
        call()
