"""What results say about a claim such as `manipulation-better`: arm B against arm A, per cell.

Every verdict is of means over seeds. The p values of one table are corrected together after Holm;
cells without a verdict are not tested and do not count. A claim of equality has two tests a cell,
one that the arms are equal and one that they are further apart than the margin, and a table of
p values of each.
"""

from dataclasses import dataclass, replace
from math import inf, isfinite, isinf, log2
from typing import Literal

import numpy as np

from experiments.analysis.verdicts.cells import Ability, Cell
from probes.statistics import (
    FEWEST_FOR_EQUIVALENCE,
    SOLVED,
    Share,
    equivalence,
    fisher_test,
    holm,
    paired_difference,
    seeds_for_difference,
    seeds_for_equivalence,
    sign_test,
    solved,
)

ALPHA = 0.05
NO_PAIRS = "no seed finished in both arms"
FISHER, SIGNS = "Fisher's exact test", "sign test"
#: the fewest pairs that differ with which a sign test has p < .05
FEWEST_SIGNS = 6
ONE_PAIR = "1 pair of seeds: a demonstration"

VerdictLabel = Literal["supported", "contradicted", "undecided", "no verdict"]


@dataclass(frozen=True)
class Hypothesis:
    """B against A. `margin` is the smallest difference that would matter, for `equal`."""

    ability: Ability
    relation: Literal["equal", "different", "better", "fewer"]
    margin: float = 0.0

    @property
    def level(self) -> float:
        """Level of the interval: two one-sided tests at .05 are one interval at .90."""
        return 1 - 2 * ALPHA if self.relation == "equal" else 1 - ALPHA


HYPOTHESES = {
    "capacity-equal": Hypothesis("capacity", "equal", 0.1),
    "capacity-different": Hypothesis("capacity", "different"),
    "capacity-better": Hypothesis("capacity", "better"),
    "manipulation-equal": Hypothesis("manipulation", "equal", 0.05),
    "manipulation-different": Hypothesis("manipulation", "different"),
    "manipulation-better": Hypothesis("manipulation", "better"),
    "needs-fewer-steps": Hypothesis("steps", "fewer"),
}


@dataclass(frozen=True)
class Verdict:
    """What one cell says. Numbers are None where they cannot be had.

    Attributes:
        reason: why there is no verdict, or why the claim stays undecided, where that is known.
        difference, low, high: B - A with its interval; for steps log2 of B / A, and only where
            the skill emerged in every run.
        test: the name of the test of steps where the skill did not emerge in every run.
        p, p_holm: p value of the claim's test, alone and corrected over the table.
        p_apart, p_apart_holm: p value of a difference beyond the margin, for `equal`.
        effect: d_z with Hedges' correction.
        seeds_needed: for a power of .8 before Holm, if spread and effect are as measured (for
            `equal`: if there is no difference); None: more than 10,000, or not known.
        solved: how many seeds of A and of B reach .95, which a run that failed does not; None for
            what is not an accuracy.
    """

    cell: Cell
    outcome: VerdictLabel
    reason: str = ""
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    effect: float | None = None
    seeds_needed: int | None = None
    solved: tuple[Share, Share] | None = None
    p_apart: float | None = None
    p_apart_holm: float | None = None
    test: str = ""

    def beyond(self, margin: float) -> bool:
        """Whether the arms lie further apart than a margin, as measured."""
        return self.p_apart is not None and abs(self.difference or 0.0) > margin


def judge(cells: list[Cell], claim: Hypothesis) -> list[Verdict]:
    """A verdict for every cell, corrected over all of them."""
    found = [_refuse(_alone(cell, claim), claim) for cell in cells]
    tested = [i for i, v in enumerate(found) if v.outcome != "no verdict"]
    of_claim, apart = (
        dict(zip(tested, _corrected([p[i] for i in tested]), strict=True))
        for p in ([v.p for v in found], [v.p_apart for v in found])
    )
    for i in tested:
        verdict = replace(found[i], p_holm=of_claim[i], p_apart_holm=apart[i])
        contradicts = claim.relation == "equal" and verdict.outcome == "contradicted"
        p = verdict.p_apart_holm if contradicts else verdict.p_holm
        lost = p is not None and p >= ALPHA
        if lost and verdict.outcome != "undecided":
            reason = f"no longer significant after Holm over {len(tested)} cells"
            verdict = replace(verdict, outcome="undecided", reason=reason)
        found[i] = verdict
    return found


def _alone(cell: Cell, claim: Hypothesis) -> Verdict:
    """The verdict of one cell, not corrected."""
    if claim.relation == "fewer":
        return _fewer(cell, claim)
    if not cell.seeds:
        return Verdict(cell, "no verdict", NO_PAIRS)
    return _equal(cell, claim) if claim.relation == "equal" else _different(cell, claim)


def _corrected(p: list[float | None]) -> list[float | None]:
    """After Holm over those there are."""
    adjusted = iter(holm([x for x in p if x is not None]).tolist())
    return [None if x is None else next(adjusted) for x in p]


def _equal(cell: Cell, claim: Hypothesis) -> Verdict:
    # accuracies may tie at 1: that is what solving means
    ceiling = cell.ceilings if claim.ability == "capacity" else None
    found = equivalence(cell.a_values, cell.b_values, claim.margin, ceiling=ceiling)
    outcomes: dict[str, VerdictLabel] = {
        "equal": "supported",
        "different": "contradicted",
        "undecided": "undecided",
        "none": "no verdict",
    }
    effect = needed = None
    if found.n > 1:
        effect = paired_difference(cell.a_values, cell.b_values).effect
        needed = seeds_for_equivalence(found.sd, found.margin) if found.sd else found.n
        needed = needed and max(needed, FEWEST_FOR_EQUIVALENCE)
    return Verdict(
        cell,
        outcomes[found.verdict],
        found.reason,
        *(found.mean, found.low, found.high, found.p),
        effect=effect,
        seeds_needed=needed,
        p_apart=found.p_apart,
    )


def _different(cell: Cell, claim: Hypothesis) -> Verdict:
    if len(cell.seeds) < 2:
        mean = cell.b_values[0] - cell.a_values[0]
        return Verdict(cell, "no verdict", ONE_PAIR, mean)
    found = paired_difference(cell.a_values, cell.b_values, claim.level)
    outcome: VerdictLabel = "supported" if found.p < ALPHA else "undecided"
    if claim.relation == "better" and outcome == "supported" and found.mean < 0:
        outcome = "contradicted"
    return Verdict(
        cell,
        outcome,
        "",
        *(found.mean, found.low, found.high, found.p, None, found.effect),
        seeds_needed=seeds_for_difference(found.effect) if found.effect else None,
    )


def _fewer(cell: Cell, claim: Hypothesis) -> Verdict:
    """Paired t of log2 steps where every pair emerged, else an exact test.

    Where at most half of all runs emerged there is little order among steps, and Fisher's test
    compares how many did; elsewhere the sign test counts pairs, with never last. The choice
    depends on the runs of both arms together, so that neither test errs more often than it says.
    """
    a, b = cell.outcomes(failed=inf)
    n_reached = sum(map(isfinite, (*a, *b)))
    if not n_reached:
        return Verdict(cell, "no verdict", "the skill emerges in no run while both arms train")
    every = all(map(isfinite, (*cell.a_values, *cell.b_values)))
    if len(cell.seeds) > 1 and every:
        log_a, log_b = (tuple(map(log2, v)) for v in (cell.a_values, cell.b_values))
        return _reverse(_different(replace(cell, a_values=log_a, b_values=log_b), claim), cell)
    if min(len(a), len(b)) > 1 and 2 * n_reached <= len(a) + len(b):
        return _by_share(cell, a, b)
    if len(cell.seeds) < 2:
        return Verdict(cell, "no verdict", ONE_PAIR if cell.seeds else NO_PAIRS)
    return _by_signs(cell)


def _by_share(cell: Cell, a: tuple[float, ...], b: tuple[float, ...]) -> Verdict:
    """Fisher's exact test of how many seeds the skill emerged in."""
    count_a, count_b = (sum(map(isfinite, values)) for values in (a, b))
    n_a, n_b = len(a), len(b)
    p = fisher_test(count_a, n_a, count_b, n_b)
    least = fisher_test(n_a, n_a, 0, n_b)
    if least < ALPHA:
        more = count_b / n_b > count_a / n_a
        clear: VerdictLabel = "supported" if more else "contradicted"
        return Verdict(cell, clear if p < ALPHA else "undecided", p=p, test=FISHER)
    seeds = f"{n_a} seeds an arm" if n_a == n_b else f"{n_a} and {n_b} seeds"
    reason = f"{seeds} are too few: all against none has p {least:.2g}; 4 would do, before Holm"
    return Verdict(cell, "undecided", reason, p=p, seeds_needed=4, test=FISHER)


def _by_signs(cell: Cell) -> Verdict:
    """Sign test of the pairs, a skill that never emerged being later than any other."""
    p = sign_test(cell.a_values, cell.b_values)
    less = np.sign(np.subtract(*_ranks(cell)))
    n, differ = len(less), int(np.abs(less).sum())
    if p < ALPHA:
        label: VerdictLabel = "supported" if less.sum() > 0 else "contradicted"
        return Verdict(cell, label, p=p, seeds_needed=_one_way(less), test=SIGNS)
    reason = ""
    if differ < FEWEST_SIGNS:
        reason = (
            f"{differ} of {n} pairs of seeds differ, and a sign test needs {FEWEST_SIGNS} or more, "
            "all going one way"
        )
    return Verdict(cell, "undecided", reason, p=p, seeds_needed=_one_way(less), test=SIGNS)


def _one_way(signs: np.ndarray) -> int | None:
    return FEWEST_SIGNS if abs(signs.sum()) == len(signs) else None


def _ranks(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Finite stand-ins in the same order: infinity minus infinity is no tie."""
    largest = max(v for v in (*cell.a_values, *cell.b_values) if not isinf(v))
    a, b = (np.minimum(v, 2 * largest) for v in (cell.a_values, cell.b_values))
    return a, b


def _reverse(verdict: Verdict, cell: Cell) -> Verdict:
    """Fewer steps are a negative difference."""
    outcome = verdict.outcome
    if outcome == "supported" and (verdict.difference or 0) > 0:
        outcome = "contradicted"
    return replace(verdict, cell=cell, outcome=outcome)


def _refuse(verdict: Verdict, claim: Hypothesis) -> Verdict:
    """Adds the shares solved; below the floor of its world no accuracy is an ability."""
    if claim.ability != "manipulation":
        return verdict
    cell = verdict.cell
    a, b = cell.outcomes(failed=0.0)  # a run that failed has solved nothing
    if a and b:
        verdict = replace(verdict, solved=(solved(a, SOLVED), solved(b, SOLVED)))
    if verdict.outcome == "no verdict" or cell.floor is None:
        return verdict
    best = max(np.mean(cell.a_values), np.mean(cell.b_values))
    if best <= cell.floor:
        return replace(
            verdict,
            outcome="no verdict",
            reason=f"neither arm passes the floor of {cell.floor:.3f}, reached without the skill",
        )
    return verdict
