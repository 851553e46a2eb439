"""Differences, equivalence and Holm against scipy, enumeration and simulations of known truth."""

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from scipy import stats

from generators.streams import Stream, generator
from probes.statistics import (
    bounded_summary,
    equivalence,
    fisher_test,
    hedges_correction,
    holm,
    paired_difference,
    paired_shares,
    sign_test,
)


def _arms(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = generator(seed, Stream.PROBE)
    return rng.normal(1.0, 0.3, n), rng.normal(1.4, 0.5, n)


@pytest.mark.parametrize("n", [2, 3, 5, 12])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_paired_difference_agrees_with_scipy(n: int, level: float) -> None:
    a, b = _arms(n, n)
    got, want = paired_difference(a, b, level), stats.ttest_rel(b, a)
    interval = want.confidence_interval(level)
    assert (got.low, got.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert (got.mean, got.p, got.n) == pytest.approx(((b - a).mean(), want.pvalue, n), rel=1e-9)
    if n == 2:
        assert got.effect is None, "d of two pairs has no finite mean"
    else:
        d_z = (b - a).mean() / (b - a).std(ddof=1)
        assert got.effect == pytest.approx(d_z * hedges_correction(n - 1))


def test_hedges_correction_makes_d_unbiased() -> None:
    """The plain estimate of d_z = 1 from five pairs averages 1.25: the control."""
    d = generator(0, Stream.PROBE).normal(1.0, 1.0, (40_000, 5))
    plain = d.mean(1) / d.std(1, ddof=1)
    assert (hedges_correction(4) * plain).mean() == pytest.approx(1.0, abs=0.015)
    assert plain.mean() > 1.2
    # the usual approximation 1 - 3 / (4m - 1)
    assert hedges_correction(20) == pytest.approx(1 - 3 / 79, abs=1e-4)


def test_differences_that_do_not_differ_have_the_p_of_signs_and_no_interval() -> None:
    same = paired_difference([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (same.mean, same.low, same.high, same.p, same.effect) == (0, None, None, 1, None)
    for n in (2, 3, 6):
        x = np.arange(n) / 3  # shifted by .1, differences differ by rounding
        for sign in (1, -1):
            found = paired_difference(x, x + sign * 0.1)
            assert (found.low, found.high, found.effect) == (None, None, None)
            assert found.p == pytest.approx(2 * 0.5**n)
    five, six = [0.5] * 5, [0.5] * 6
    equal = equivalence(five, five, 0.1)
    assert (equal.verdict, equal.p, equal.low) == ("equal", 0.5**5, None)
    assert equivalence(five, [0.7] * 5, 0.1).verdict == "undecided"
    apart = equivalence(six, [0.7] * 6, 0.1)
    assert (apart.verdict, apart.p_apart) == ("different", pytest.approx(2 * 0.5**6))
    assert equivalence(six, [0.6] * 6, 0.1).verdict == "undecided", "on the margin"


def test_interval_of_differences_ends_at_the_bounds() -> None:
    a, b = [0.1, 0.2], [2.3, 0.9]
    free, cut = paired_difference(a, b), paired_difference(a, b, bounds=(-2.5, 2.73))
    assert free.low < -2.5 and free.high > 2.73
    assert (cut.low, cut.high, cut.p) == (-2.5, 2.73, free.p)
    five = [1.0, 1.1, 0.9, 1.2, 2.0], [0.1, 2.7, 2.6, 0.2, 2.7]
    tost = equivalence(*five, 0.1, ceiling=(10.0, 1.5))
    assert tost.high == 1.5 and equivalence(*five, 0.1).high > 1.5


def test_permutation_of_shares_by_enumeration() -> None:
    rng = generator(4, Stream.PROBE)
    a, b = rng.random(7), rng.random(7)
    d = b - a
    means = [np.mean(d * flips) for flips in product((1, -1), repeat=7)]
    want = min(1.0, 2 * np.mean(np.array(means) >= abs(d.mean()) - 1e-12))
    got = paired_shares(a, b)
    assert got.p == pytest.approx(want)
    assert (got.mean, got.sd, got.n) == pytest.approx((d.mean(), d.std(ddof=1), 7))
    assert got.effect == paired_difference(a, b).effect
    assert (got.low, got.high) == bounded_summary(d, (-1.0, 1.0))[1:3]


@pytest.mark.parametrize("n", [2, 3, 5, 6, 20])
def test_few_pairs_of_accuracies_that_agree_prove_little(n: int) -> None:
    got = paired_shares([0.14] * n, [1.0] * n)
    assert got.p == pytest.approx(2 * 0.5**n, rel=0.2 if n < 20 else 20)
    assert -1 <= got.low < got.mean < got.high <= 1
    assert (got.p < 0.05) == (got.low > 0) == (n > 5)
    assert paired_shares([0.5] * n, [0.5] * n).p == 1.0


def test_permutation_keeps_its_size_where_seeds_are_bimodal() -> None:
    """Six seeds of two arms that solve it as often; the paired t test has no such promise."""
    rng = generator(6, Stream.PROBE)
    rows = np.where(rng.random((300, 2, 6)) < 0.5, 1.0, rng.uniform(0.05, 0.1, (300, 2, 6)))
    wrong = np.mean([paired_shares(a, b).p < 0.05 for a, b in rows])
    assert 0 < wrong <= 0.06


def test_equal_shares_need_many_seeds() -> None:
    """59 that agree leave less than .05 of failures open: .95⁵⁹ < .05. Six leave .39."""
    few, many = ([1.0] * n for n in (58, 59))
    assert equivalence(few, few, 0.05, shares=True).verdict == "undecided"
    equal = equivalence(many, many, 0.05, shares=True)
    assert equal.verdict == "equal" and equal.p == pytest.approx(0.95**59)
    assert -0.05 < equal.low < 0 < equal.high < 0.05
    six = equivalence([1.0] * 6, [1.0] * 6, 0.05, shares=True)
    assert six.high == pytest.approx(1 - 0.05 ** (1 / 6)) and six.verdict == "undecided"
    apart = equivalence([0.1] * 8, [1.0] * 8, 0.05, shares=True)
    assert apart.verdict == "different"


def test_equality_of_shares_keeps_its_size_where_an_arm_fails_now_and_then() -> None:
    """One seed in ten fails, which is outside the margin; t would call it equality mostly."""
    fails = generator(7, Stream.PROBE).random((200, 6)) < 0.1
    pairs = [(np.ones(6) - 0.001 * np.arange(6), np.where(f, 0.1, 1.0)) for f in fails]
    assert not any(equivalence(a, b, 0.05, shares=True).verdict == "equal" for a, b in pairs)
    assert np.mean([equivalence(a, b, 0.05).verdict == "equal" for a, b in pairs]) > 0.3


def test_paired_test_keeps_its_size() -> None:
    rows = generator(1, Stream.PROBE).normal(size=(4000, 2, 3))
    wrong = np.mean([paired_difference(a, b).p < 0.05 for a, b in rows])
    assert wrong == pytest.approx(0.05, abs=0.012)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.3])
def test_equivalence_is_two_one_sided_tests(shift: float) -> None:
    rng = generator(5, Stream.PROBE)
    a = rng.normal(1.0, 0.2, 8)
    b = a + shift + rng.normal(0, 0.04, 8)
    got = equivalence(a, b, 0.1)
    lower = stats.ttest_1samp(b - a, -0.1, alternative="greater").pvalue
    upper = stats.ttest_1samp(b - a, 0.1, alternative="less").pvalue
    assert got.p == pytest.approx(max(lower, upper), rel=1e-9)
    assert (got.p < 0.05) == (got.verdict == "equal"), "interval and tests say the same"
    interval = stats.ttest_rel(b, a).confidence_interval(0.9)
    assert (got.low, got.high) == pytest.approx((interval.low, interval.high))


def test_apart_is_a_t_test_with_a_margin() -> None:
    rng = generator(7, Stream.PROBE)
    a = rng.normal(1.0, 0.2, 6)
    b = a + 0.2 + rng.normal(0, 0.1, 6)
    got = equivalence(a, b, 0.1)
    above = stats.ttest_1samp(b - a, 0.1, alternative="greater").pvalue
    below = stats.ttest_1samp(a - b, 0.1, alternative="greater").pvalue
    opposite = stats.ttest_1samp(b - a, -0.1, alternative="greater").pvalue
    assert got.p_apart == pytest.approx(above + opposite, rel=1e-9) and below > 0.9
    assert equivalence(b, a, 0.1).p_apart == pytest.approx(got.p_apart)
    none = equivalence(a, b, 1e-12).p_apart
    assert none == pytest.approx(stats.ttest_rel(b, a).pvalue), "without a margin"


@pytest.mark.parametrize("margin", [0.005, 0.1])
def test_apart_keeps_its_size_at_the_margin(margin: float) -> None:
    """A margin far below the scatter is two-sided: half of the interval would err twice as often"""
    noise = generator(3, Stream.PROBE).normal(0, 0.05, (4000, 5)) + margin
    zero = np.zeros(5)
    found = [equivalence(zero, x, margin) for x in noise]
    assert np.mean([f.verdict == "different" for f in found]) == pytest.approx(0.05, abs=0.012)
    assert np.mean([equivalence(zero, x + 0.2, margin).verdict == "different" for x in noise]) > 0.9


def test_verdicts_of_equivalence() -> None:
    noise = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
    a = np.full(5, 1.0)
    assert equivalence(a, a + noise, 0.1).verdict == "equal"
    assert equivalence(a, a + noise + 0.5, 0.1).verdict == "different"
    assert equivalence(a, a + 0.1 + noise, 0.1).verdict == "undecided"


def test_no_verdict_says_why() -> None:
    a = [1.0, 1.01, 0.99, 1.0]
    few = equivalence(a, a, 0.1)
    assert few.verdict == "none" and "4 pairs of seeds, and equivalence needs 5" in few.reason
    assert few.p == 0.5**4, "the numbers are given all the same"
    five = [*a, 1.02]
    full = equivalence(five, five, 0.1, ceiling=1.1)
    assert full.verdict == "none" and "saturated" in full.reason
    assert equivalence(five, five, 0.1, ceiling=1.2).verdict == "equal"
    half = equivalence(np.array(five) / 2, five, 0.1, ceiling=1.1)
    assert half.verdict == "none", "one saturated arm is enough"
    assert equivalence(five, five, 0.1, ceiling=(2.0, 1.1)).verdict == "none"
    assert equivalence(five, five, 0.1, ceiling=(2.0, 3.0)).verdict == "equal"
    one = equivalence([1.0], [1.3], 0.1)
    assert (one.verdict, one.low, one.n) == ("none", None, 1) and "1 pair of" in one.reason


def test_equivalence_keeps_its_size_at_the_margin() -> None:
    """The truth lies on the margin, so that every `equal` is an error; inside, most are right."""
    noise = generator(2, Stream.PROBE).normal(0, 0.05, (4000, 6))
    zero = np.zeros(6)
    wrong = np.mean([equivalence(zero, 0.1 + x, 0.1).verdict == "equal" for x in noise])
    right = np.mean([equivalence(zero, x, 0.1).verdict == "equal" for x in noise])
    assert wrong == pytest.approx(0.05, abs=0.012)
    assert right > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_closed_testing_by_enumeration(seed: int) -> None:
    """A hypothesis falls when Bonferroni rejects every set that holds it."""
    p = generator(seed, Stream.PROBE).beta(0.4, 2.0, 5)
    p[1] = p[0]
    every = range(len(p))
    want = [
        max(
            min(1.0, len(chosen) * p[list(chosen)].min())
            for size in range(1, len(p) + 1)
            for chosen in combinations(every, size)
            if i in chosen
        )
        for i in every
    ]
    assert holm(p) == pytest.approx(want)


def test_holm_keeps_the_family_and_is_kinder_than_bonferroni() -> None:
    p = generator(3, Stream.PROBE).uniform(size=(5000, 6))
    assert np.mean([holm(row).min() < 0.05 for row in p]) <= 0.06
    assert np.mean(p.min(1) < 0.05) > 0.2, "uncorrected, the family errs often"
    assert holm([0.01, 0.03]).tolist() == [0.02, 0.03]
    assert holm([]).tolist() == []


def test_sign_test_orders_never_last() -> None:
    never = np.inf
    assert sign_test([never] * 6, [400] * 6) == pytest.approx(2 / 64)
    assert sign_test([never, never, 500], [400, never, 400]) == pytest.approx(2 / 4)
    assert sign_test([never, never], [never, never]) == 1.0


@pytest.mark.parametrize(("more", "less"), [(6, 0), (5, 1), (9, 2), (0, 3)])
def test_sign_test_of_solved_seeds_is_mcnemars(more: int, less: int) -> None:
    """Pairs that agree do not count; b of the m others go one way, Binomial(m, 1/2)."""
    a = [0.0] * more + [1.0] * less + [1.0, 1.0, 0.0]
    b = [1.0] * more + [0.0] * less + [1.0, 1.0, 0.0]
    m, least = more + less, min(more, less)
    want = min(1.0, 2 * sum(comb(m, k) for k in range(least + 1)) / 2**m)
    assert sign_test(a, b) == pytest.approx(want)


def test_fisher_test_of_shares() -> None:
    assert fisher_test(0, 3, 3, 3) == pytest.approx(2 / 20)
    assert fisher_test(0, 4, 4, 4) == pytest.approx(2 / 70)
    assert fisher_test(2, 5, 2, 5) == pytest.approx(1.0)
    # Fisher's tea: 3 of 4 right each way has a one-sided p of 17/70
    assert fisher_test(1, 4, 3, 4) == pytest.approx(34 / 70)


@pytest.mark.parametrize(
    "call",
    [
        lambda: paired_difference([1.0], [2.0]),
        lambda: paired_difference([1.0, 2.0], [1.0, 2.0, 3.0]),
        lambda: equivalence([1.0, 2.0], [1.0, 2.0], 0.0),
        lambda: equivalence([1.0, float("nan")], [1.0, 2.0], 0.1),
        lambda: equivalence([1.0], [1.0, 2.0], 0.1),
        lambda: holm([0.5, 1.5]),
        lambda: sign_test([], []),
        lambda: paired_shares([0.5], [0.6]),
        lambda: paired_shares([0.5, 0.5], [2.6, 0.1]),
        lambda: equivalence([0.5] * 5, [2.5] * 5, 0.1, shares=True),
        lambda: fisher_test(4, 3, 0, 3),
        lambda: fisher_test(0, 0, 0, 3),
        lambda: hedges_correction(1),
    ],
)
def test_bad_input_is_named(call) -> None:
    with pytest.raises(ValueError, match="got"):
        call()
