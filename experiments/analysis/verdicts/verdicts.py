"""What results say about a claim such as `manipulation-better`: arm B against arm A, per cell.

Every verdict is of means over seeds, or of how many solve it. The p values of one table are
corrected together after Holm; cells without a verdict are not tested and do not count. A claim of
equality has two tests a cell, one that the arms are equal and one that they are further apart
than the margin, and a table of p values of each.
"""

from dataclasses import replace

import numpy as np

from experiments.analysis.verdicts.cells import Cell
from experiments.analysis.verdicts.claims import (
    ALPHA,
    FEWEST_SIGNS,
    FEWEST_T,
    MCNEMAR,
    NO_PAIRS,
    ONE_PAIR,
    PERMUTATION,
    TWO_PAIRS,
    Hypothesis,
    Verdict,
    VerdictLabel,
)
from experiments.analysis.verdicts.steps import fewer_steps
from probes.statistics import (
    FEWEST_FOR_EQUIVALENCE,
    SOLVED,
    bounded_summary,
    equivalence,
    equivalence_power,
    holm,
    paired_difference,
    paired_shares,
    seeds_for_difference,
    seeds_for_equal_shares,
    seeds_for_equivalence,
    seeds_for_mcnemar,
    sign_test,
    solved,
)


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
        return fewer_steps(cell, claim.level)
    if claim.ability == "solved":
        return _solved(cell, claim)
    if not cell.seeds:
        return Verdict(cell, "no verdict", NO_PAIRS)
    return _equal(cell, claim) if claim.relation == "equal" else _different(cell, claim)


def _corrected(p: list[float | None]) -> list[float | None]:
    """After Holm over those there are."""
    adjusted = iter(holm([x for x in p if x is not None]).tolist())
    return [None if x is None else next(adjusted) for x in p]


def _equal(cell: Cell, claim: Hypothesis) -> Verdict:
    shares = claim.ability == "manipulation"
    # accuracies may tie at 1: that is what solving means
    ceiling = None if shares else cell.ceilings
    a, b, margin = cell.a_values, cell.b_values, claim.margin
    found = equivalence(a, b, margin, ceiling=ceiling, shares=shares)
    outcomes: dict[str, VerdictLabel] = {
        "equal": "supported",
        "different": "contradicted",
        "undecided": "undecided",
        "none": "no verdict",
    }
    effect = needed = power = None
    if found.n > 1:
        effect = paired_difference(a, b).effect
        needed = seeds_for_equivalence(found.sd, margin) if found.sd else found.n
        if shares:
            needed = seeds_for_equal_shares(np.subtract(b, a), margin)
        elif found.sd:
            power = equivalence_power(found.sd, margin, found.n)
        needed = needed and max(needed, FEWEST_FOR_EQUIVALENCE)
    return Verdict(
        cell,
        outcomes[found.verdict],
        found.reason,
        *(found.mean, found.low, found.high, found.p),
        effect=effect,
        seeds_needed=needed,
        p_apart=found.p_apart,
        test="two one-sided tests of means in bounds" if shares else "",
        power=power,
    )


def _different(cell: Cell, claim: Hypothesis) -> Verdict:
    """Paired t test of bits, permutation test of accuracies, which are bimodal."""
    n, shares = len(cell.seeds), claim.ability == "manipulation"
    if n < (2 if shares else FEWEST_T):
        mean = float(np.mean(np.subtract(cell.b_values, cell.a_values)))
        return Verdict(cell, "no verdict", ONE_PAIR if n < 2 else TWO_PAIRS, mean)
    if shares:
        found = paired_shares(cell.a_values, cell.b_values, claim.level)
    else:
        most = cell.ceilings or (np.inf, np.inf)
        bounds = -most[0], most[1]
        found = paired_difference(cell.a_values, cell.b_values, claim.level, bounds)
    label = _direction(found.p, found.mean, claim)
    needed = seeds_for_difference(found.effect) if found.effect else None
    if shares and found.mean:
        needed = max(needed or FEWEST_SIGNS, FEWEST_SIGNS)
    reason = ""
    if shares and label == "undecided" and n < FEWEST_SIGNS:
        reason = (
            f"{n} pairs of seeds are too few: all going one way have p {2 * 0.5**n:.2g}; "
            f"{FEWEST_SIGNS} would do, before Holm"
        )
    return Verdict(
        cell,
        label,
        reason,
        *(found.mean, found.low, found.high, found.p, None, found.effect),
        seeds_needed=needed,
        test=PERMUTATION if shares else "",
    )


def _solved(cell: Cell, claim: Hypothesis) -> Verdict:
    """McNemar's exact test of who solves what; a run that failed has not solved it."""
    a, b = cell.pairs(failed=0.0)
    if len(a) < 2:
        return Verdict(cell, "no verdict", ONE_PAIR if a else NO_PAIRS)
    d = np.subtract(b, a)
    n, more, less = len(d), int((d > 0).sum()), int((d < 0).sum())
    p, found = sign_test(a, b), bounded_summary(d, (-1.0, 1.0), claim.level)
    reason = ""
    if more + less < FEWEST_SIGNS:
        reason = (
            f"{more + less} of {n} pairs of seeds differ, and McNemar's test needs "
            f"{FEWEST_SIGNS} or more, all going one way"
        )
    return Verdict(
        cell,
        _direction(p, more - less, claim),
        reason,
        *(found.mean, found.low, found.high, p),
        seeds_needed=seeds_for_mcnemar(more / n, less / n),
        test=MCNEMAR,
    )


def _direction(p: float, difference: float, claim: Hypothesis) -> VerdictLabel:
    if p >= ALPHA:
        return "undecided"
    return "contradicted" if claim.relation == "better" and difference < 0 else "supported"


def _refuse(verdict: Verdict, claim: Hypothesis) -> Verdict:
    """Adds the shares solved; below the floor of its world no accuracy is an ability."""
    if claim.ability not in ("manipulation", "solved"):
        return verdict
    cell = verdict.cell
    a, b = cell.outcomes(failed=0.0)  # a run that failed has solved nothing
    if a and b:
        verdict = replace(verdict, solved=(solved(a, SOLVED), solved(b, SOLVED)))
    if verdict.outcome == "no verdict" or cell.floor is None or claim.ability == "solved":
        return verdict
    best = max(np.mean(cell.a_values), np.mean(cell.b_values))
    if best <= cell.floor:
        return replace(
            verdict,
            outcome="no verdict",
            reason=f"neither arm passes the floor of {cell.floor:.3f}, reached without the skill",
        )
    return verdict
