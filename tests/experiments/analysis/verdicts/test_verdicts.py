"""Claims about results of known truth: pairs, cells, verdicts, and what is said of them."""

import json
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
from paired_cells import cell, of_solved
from scipy import stats

from experiments.analysis.verdicts.cells import cells
from experiments.analysis.verdicts.claims import HYPOTHESES
from experiments.analysis.verdicts.text import as_data, report
from experiments.analysis.verdicts.verdicts import judge
from experiments.results.long_table import read_results
from probes.statistics import bounded_summary, equivalence_power


def test_equal_capacity_is_found_because_worlds_pair(out: Path) -> None:
    claim = HYPOTHESES["capacity-equal"]
    paired = cells(read_results(out), claim.ability)
    (found,) = judge(paired, claim)
    assert found.outcome == "supported"
    d = np.subtract(paired[0].b_values, paired[0].a_values)
    want = stats.ttest_rel(paired[0].b_values, paired[0].a_values).confidence_interval(0.9)
    assert (found.difference, found.low, found.high) == pytest.approx(
        (d.mean(), want.low, want.high), abs=1e-12
    )
    # the same numbers out of step, and the worlds' scatter hides that they are equal
    shuffled = replace(paired[0], b_values=paired[0].b_values[::-1])
    assert judge([shuffled], claim)[0].outcome == "undecided"
    assert judge(paired, HYPOTHESES["capacity-different"])[0].outcome == "undecided"


def test_a_table_is_corrected_together(out: Path) -> None:
    claim = HYPOTHESES["manipulation-better"]
    two, three = judge(cells(read_results(out), claim.ability), claim)
    assert (two.outcome, three.outcome) == ("undecided", "supported")
    assert three.p_holm == pytest.approx(2 * three.p)
    assert [s.count for s in three.solved] == [0, 8]
    assert three.p == pytest.approx(2 / 2**8), "all eight pairs go one way"
    # each of five cells is significant alone, and none after Holm
    claim = HYPOTHESES["capacity-better"]
    weak = cell([0.5] * 3, [0.60, 0.65, 0.72])
    alone = judge([weak], claim)[0]
    assert alone.outcome == "supported" and 0.01 < alone.p < 0.05
    assert {v.outcome for v in judge([weak] * 5, claim)} == {"undecided"}


def test_a_contradiction_of_equality_has_its_own_corrected_p() -> None:
    claim = HYPOTHESES["capacity-equal"]
    apart = cell([1.0] * 5, [1.21, 1.11, 1.25, 1.30, 1.12])
    alone = judge([apart], claim)[0]
    d = np.subtract(apart.b_values, apart.a_values)
    ends = [stats.ttest_1samp(d, m, alternative="greater").pvalue for m in (0.1, -0.1)]
    assert alone.outcome == "contradicted" and 0.025 < alone.p_apart < 0.05
    assert (alone.p, alone.p_apart) == pytest.approx((1 - ends[0], sum(ends)))
    wide = cell([1.0] * 5, [0.6, 1.4, 0.8, 1.3, 0.9])
    two = judge([apart, wide], claim)
    assert [v.outcome for v in two] == ["undecided", "undecided"], "Holm over two"
    assert two[0].p_apart_holm == pytest.approx(2 * alone.p_apart)
    assert two[0].p_holm == pytest.approx(alone.p), "the larger of two p of equality"
    clear = cell([1.0] * 5, [2.0, 2.01, 1.99, 2.0, 2.02])
    same = cell([1.0] * 5, [1.0, 1.01, 0.99, 1.0, 1.02])
    assert [v.outcome for v in judge([clear, same], claim)] == ["contradicted", "supported"]
    text = report("capacity-equal", claim, two)
    told = f"t test of more than ±0.1: p {alone.p_apart:.2g}, {2 * alone.p_apart:.2g} after Holm"
    assert told in text and text.count("t test of more than") == 1
    assert as_data(two[0], claim)["p_apart_holm"] == two[0].p_apart_holm


def test_better_has_a_direction() -> None:
    six = cell([0.9, 0.91, 0.89] * 2, [0.4, 0.41, 0.42] * 2)
    assert judge([six], HYPOTHESES["manipulation-better"])[0].outcome == "contradicted"
    assert judge([six], HYPOTHESES["manipulation-different"])[0].outcome == "supported"
    three = cell([0.9, 0.91, 0.89], [0.4, 0.41, 0.42])
    assert judge([three], HYPOTHESES["capacity-better"])[0].outcome == "contradicted"


@pytest.mark.parametrize(("n", "p"), [(2, 0.5), (3, 0.25), (5, 0.0625)])
def test_few_pairs_of_accuracies_are_too_few(n: int, p: float) -> None:
    """They agree to the last digit, which a t test would give p 0 and an interval of no width."""
    claim = HYPOTHESES["manipulation-better"]
    (found,) = judge([cell([0.144] * n, [1.0] * n)], claim)
    assert (found.outcome, found.p, found.seeds_needed) == ("undecided", p, 6)
    assert -1 <= found.low < 0.856 < found.high <= 1
    said = report("x", claim, [found])
    assert f"{n} pairs of seeds are too few: all going one way have p {p:.2g}; 6 would do" in said
    assert f"permutation test of paired seeds: p {p:.2g}" in said and "< .0001" not in said
    (six,) = judge([cell([0.144] * 6, [1.0] * 6)], claim)
    assert (six.outcome, six.p) == ("supported", 2 / 64)


def test_two_pairs_of_bits_are_a_demonstration() -> None:
    for b in ([1.3, 1.3], [1.3, 1.3001]):
        (found,) = judge([cell([1.0, 1.0], b)], HYPOTHESES["capacity-different"])
        assert (found.outcome, found.p_holm) == ("no verdict", None)
        assert found.reason == "2 pairs of seeds: a demonstration"
    (three,) = judge([cell([1.0] * 3, [1.3] * 3)], HYPOTHESES["capacity-different"])
    assert (three.outcome, three.p, three.low) == ("undecided", 0.25, None)
    said = report("x", HYPOTHESES["capacity-different"], [three])
    assert (
        "difference +0.300 in every pair, so that there is no scatter to judge by" in said.lower()
    )
    json.dumps(as_data(three, HYPOTHESES["capacity-different"]), allow_nan=False)


def test_intervals_of_differences_of_bits_end_at_what_can_be() -> None:
    apart = cell([0.1, 2.6, 0.3], [2.6, 0.2, 2.5], ceilings=(2.73, 2.73))
    (found,) = judge([apart], HYPOTHESES["capacity-different"])
    assert (found.low, found.high) == (-2.73, 2.73)
    (free,) = judge([replace(apart, ceilings=None)], HYPOTHESES["capacity-different"])
    assert free.low < -2.73 and free.high > 2.73


def test_steps_that_all_halve_are_no_certainty() -> None:
    """Steps are known to the evaluation, so that ratios are often the same in every pair."""
    claim = HYPOTHESES["needs-fewer-steps"]
    for n, outcome in ((3, "undecided"), (5, "undecided"), (6, "supported")):
        (found,) = judge(
            [cell([400.0 * 2**i for i in range(n)], [200.0 * 2**i for i in range(n)])], claim
        )
        assert (found.outcome, found.p) == (outcome, 2 * 0.5**n)
    assert judge([cell([400, 800], [200, 400])], claim)[0].outcome != "supported"


def test_seeds_solved_are_compared_by_mcnemars_test() -> None:
    """Ten seeds, of which six are solved by B alone: p is 2/2⁶, and 2/2⁵ where it is five."""
    claim = HYPOTHESES["solved-better"]
    never, mostly = [0.2] * 10, [1.0] * 6 + [0.3] * 4
    (found,) = judge([of_solved(never, mostly)], claim)
    assert (found.outcome, found.p, found.test) == ("supported", 2 / 64, "McNemar's exact test")
    assert found.difference == pytest.approx(0.6)
    assert found.low == pytest.approx(bounded_summary([1.0] * 6 + [0.0] * 4, (-1, 1)).low)
    assert [(s.count, s.n) for s in found.solved] == [(0, 10), (6, 10)]
    said = report("solved-better", claim, [found])
    assert "1⊗4 reaches 0.95 in more seeds than 1⊗1" in said
    assert (
        "McNemar's exact test: p 0.031" in said and "1⊗4 6/10 (95 % interval 0.31 to 0.83)" in said
    )
    two = judge([of_solved(never, mostly)] * 2, claim)
    assert {v.outcome for v in two} == {"undecided"} and two[0].p_holm == 4 / 64
    assert "p 0.031, 0.062 after Holm over 2 cells" in report("x", claim, two)
    assert judge([of_solved(mostly, never)], claim)[0].outcome == "contradicted"
    (few,) = judge([of_solved(never[:5], [1.0] * 5)], claim)
    assert (few.outcome, few.p, few.seeds_needed) == ("undecided", 2 / 32, 6)
    assert "5 of 5 pairs of seeds differ, and McNemar's test needs 6 or more" in few.reason
    assert judge([of_solved([1.0], [0.2])], claim)[0].outcome == "no verdict"


def test_a_run_that_failed_has_not_solved_it_and_keeps_its_pair() -> None:
    beside = {"failed": ((6,), (7, 8)), "beside_failed": ((1.0,), (1.0,))}
    found = of_solved([0.2] * 6, [1.0] * 6, **beside)
    a, b = found.pairs(failed=0.0)
    assert a == (*(0.0,) * 6, 1.0, 0.0) and b == (*(1.0,) * 6, 0.0, 1.0)
    (verdict,) = judge([found], HYPOTHESES["solved-better"])
    assert verdict.p == pytest.approx(stats.binomtest(7, 8).pvalue), "seven of eight"


def test_below_the_floor_nothing_is_an_ability() -> None:
    below = cell([0.10, 0.11, 0.09] * 2, [0.15, 0.16, 0.15] * 2, floor=0.2)
    verdict = judge([below], HYPOTHESES["manipulation-better"])[0]
    assert (verdict.outcome, verdict.p_holm) == ("no verdict", None)
    assert "floor of 0.200" in verdict.reason and verdict.p < 0.05
    above = judge([replace(below, floor=0.12)], HYPOTHESES["manipulation-better"])[0]
    assert above.outcome == "supported"


def test_no_verdict_for_few_seeds_and_saturated_arms() -> None:
    claim = HYPOTHESES["capacity-equal"]
    few = cell([1.0, 1.01, 0.99], [1.0, 1.0, 1.0])
    five = [1.0, 1.01, 0.99, 1.0, 1.0]
    full = cell(five, five[::-1], ceilings=(2.0, 1.05))
    free = replace(full, ceilings=(2.0, 2.0))
    verdicts = judge([few, full, free], claim)
    assert [v.outcome for v in verdicts] == ["no verdict", "no verdict", "supported"]
    assert verdicts[2].p_holm == pytest.approx(verdicts[2].p), "only one cell was tested"
    assert verdicts[0].seeds_needed == 5
    text = report("capacity-equal", claim, verdicts)
    assert "no verdict in 2, supported in 1 of 3 cells" in text
    assert "3 pairs of seeds, and equivalence needs 5" in text and "saturated" in text
    assert judge([cell([1.0], [1.1])], HYPOTHESES["capacity-different"])[0].outcome == "no verdict"


def test_fewer_steps_by_t_where_all_emerge_and_by_signs_where_not() -> None:
    claim = HYPOTHESES["needs-fewer-steps"]
    half = cell([800, 1000, 900], [400, 520, 440])
    found = judge([half], claim)[0]
    logs = np.log2(half.b_values), np.log2(half.a_values)
    assert found.outcome == "supported"
    assert found.p == pytest.approx(stats.ttest_rel(*logs).pvalue)
    assert "0.50 times the steps" in report("x", claim, [found])
    assert judge([cell([400, 520, 440], [800, 1000, 900])], claim)[0].outcome == "contradicted"
    # one of six is missing, so that pairs are in order: signs
    late, soon = [900, 800, 700, 900, 800, inf], [400, 420, 440, 460, 480, 500]
    signs = judge([cell(late, soon)], claim)[0]
    assert (signs.outcome, signs.test, signs.p) == ("supported", "sign test", 2 / 64)
    two = judge([cell(late, soon), cell(late[3:], soon[3:])], claim)
    assert [v.outcome for v in two] == ["undecided", "undecided"], "Holm over two"
    assert two[0].reason == "no longer significant after Holm over 2 cells"
    assert two[1].reason.startswith("3 of 3 pairs of seeds differ, and a sign test needs 6")
    assert judge([cell([inf] * 6, [400] * 6)], claim)[0].outcome == "supported"
    assert judge([cell([400] * 6, [inf] * 6)], claim)[0].outcome == "contradicted"
    none = judge([cell([inf] * 6, [inf] * 6)], claim)[0]
    assert none.outcome == "no verdict"
    assert none.reason == "the skill emerges in no run while both arms train"
    json.dumps(as_data(none, claim), allow_nan=False)


@pytest.mark.parametrize(
    ("n", "p", "outcome"),
    # two tables of C(2n, n) are as far apart as all against none
    [(2, 2 / 6, "undecided"), (3, 2 / 20, "undecided"), (4, 2 / 70, "supported")],
)
def test_a_skill_that_never_came_in_one_arm_is_judged_by_shares(
    n: int, p: float, outcome: str
) -> None:
    claim = HYPOTHESES["needs-fewer-steps"]
    (found,) = judge([cell([inf] * n, [400.0] * n)], claim)
    assert (found.outcome, found.test) == (outcome, "Fisher's exact test")
    assert found.p == pytest.approx(p)
    few = f"{n} seeds an arm are too few: all against none has p {p:.2g}; 4 would do, before Holm"
    assert found.reason == ("" if outcome == "supported" else few)
    said = report("needs-fewer-steps", claim, [found])
    assert (few in said) == (outcome == "undecided")
    assert f"by 1⊗1 in 0 of {n} seeds, by 1⊗4 in {n} of {n} seeds (median step 400)" in said


def test_verdicts_of_steps_keep_their_size_where_skills_come_or_not() -> None:
    """Both arms alike; the choice between two tests may not add up their errors."""
    rng = np.random.default_rng(0)
    claim = HYPOTHESES["needs-fewer-steps"]
    steps = rng.integers(100, 1000, (800, 2, 6)).astype(float)
    steps[rng.random(steps.shape) < 0.45] = inf
    outcomes = [judge([cell(list(a), list(b))], claim)[0].outcome for a, b in steps]
    wrong = np.mean([o in ("supported", "contradicted") for o in outcomes])
    assert 0 < wrong <= 0.05


def test_accuracies_may_tie_at_their_ceiling_and_capacities_may_not() -> None:
    """All seeds of both arms have solved it: that is equal skill, but would say nothing of bits.

    Sixty of them show that no arm fails in one seed of twenty; six do not.
    """
    few = [1.0, 0.99, 1.0, 0.99, 1.0, 1.0], [0.99, 1.0, 1.0, 1.0, 0.99, 1.0]
    (six,) = judge([cell(*few, ceilings=(1.0, 1.0))], HYPOTHESES["manipulation-equal"])
    assert six.outcome == "undecided" and six.seeds_needed > 58
    assert six.low < -0.3 and six.high > 0.3
    many = cell([1.0] * 60, [1.0] * 60, ceilings=(1.0, 1.0))
    (of_skill,) = judge([many], HYPOTHESES["manipulation-equal"])
    (of_bits,) = judge([many], HYPOTHESES["capacity-equal"])
    assert of_skill.outcome == "supported"
    assert "tests of means in bounds: p 0.046" in report(
        "x", HYPOTHESES["manipulation-equal"], [of_skill]
    )
    assert of_bits.outcome == "no verdict" and "saturated" in of_bits.reason


def test_undecided_equality_says_its_power() -> None:
    claim = HYPOTHESES["capacity-equal"]
    (found,) = judge([cell([1.0] * 5, [1.2, 0.8, 1.1, 0.9, 1.05])], claim)
    sd = np.std([0.2, -0.2, 0.1, -0.1, 0.05], ddof=1)
    assert found.power == pytest.approx(equivalence_power(float(sd), 0.1, 5))
    assert equivalence_power(float(sd), 0.1, found.seeds_needed) >= 0.8
    said = report("x", claim, [found])
    told = (
        f"about {found.seeds_needed} seeds would be needed, going by these (power .8, before Holm"
    )
    assert f"{told}; these 5 have power {found.power:.2f})" in said.lower().replace("holm", "Holm")
