"""What results say about a claim such as `manipulation-better`: arm B against arm A, per cell.

Every verdict is of means over seeds. The p values of one table are corrected together after Holm;
cells without a verdict are not tested and do not count. A claim of equality has two tests a cell,
one that the arms are equal and one that they are further apart than the margin, and a table of
p values of each.
"""

from dataclasses import dataclass, replace
from math import isinf, log2
from typing import Literal

import numpy as np

from experiments.analysis.verdicts.cells import Ability, Cell
from probes.statistics import (
    FEWEST_FOR_EQUIVALENCE,
    SOLVED,
    Share,
    equivalence,
    holm,
    paired_difference,
    seeds_for_difference,
    seeds_for_equivalence,
    sign_test,
    solved,
)

ALPHA = 0.05

VerdictLabel = Literal["supported", "contradicted", "undecided", "no verdict"]


@dataclass(frozen=True)
class Hypothesis:
    """B against A. `margin` is the smallest difference that would matter, for `equal`."""

    ability: Ability
    relation: Literal["equal", "different", "better", "fewer"]
    margin: float = 0.0

    @property
    def level(self) -> float:
        """Of the interval: two one-sided tests at .05 are one interval at .90."""
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
        reason: why there is no verdict.
        difference, low, high: B - A with its interval; for steps log2 of B / A, and only where
            the skill emerged in every run.
        p, p_holm: of the claim's test, alone and corrected over the table.
        p_apart, p_apart_holm: of a difference beyond the margin, for `equal`.
        effect: d_z with Hedges' correction.
        seeds_needed: for a power of .8 before Holm, if spread and effect are as measured (for
            `equal`: if there is no difference); None: more than 10,000, or not known.
        solved: how many seeds of A and of B reach .95; None for what is not an accuracy.
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

    def beyond(self, margin: float) -> bool:
        """Whether the arms lie further apart than a margin, as measured."""
        return self.p_apart is not None and abs(self.difference or 0.0) > margin


def judge(cells: list[Cell], claim: Hypothesis) -> list[Verdict]:
    """A verdict for every cell, corrected over all of them."""
    ways = {"equal": _equal, "different": _different, "better": _different, "fewer": _fewer}
    found = [_refuse(ways[claim.relation](cell, claim), claim) for cell in cells]
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
        found[i] = replace(verdict, outcome="undecided") if lost else verdict
    return found


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
        return Verdict(cell, "no verdict", "1 pair of seeds: a demonstration", mean)
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
    """Paired t of log2 steps where every run emerged, else the sign test, with never last."""
    values = (*cell.a_values, *cell.b_values)
    if all(map(isinf, values)):
        return Verdict(cell, "no verdict", "the skill emerges in no run")
    if len(cell.seeds) < 2:
        return Verdict(cell, "no verdict", "1 pair of seeds: a demonstration")
    if not any(map(isinf, values)):
        a, b = (tuple(map(log2, v)) for v in (cell.a_values, cell.b_values))
        return _reverse(_different(replace(cell, a_values=a, b_values=b), claim), cell)
    p = sign_test(cell.a_values, cell.b_values)
    less = np.sign(np.subtract(*_ranks(cell)))
    outcome: VerdictLabel = "undecided"
    if p < ALPHA:
        outcome = "supported" if less.sum() > 0 else "contradicted"
    # six pairs, all one way, are the fewest with p < .05
    return Verdict(cell, outcome, p=p, seeds_needed=6 if abs(less.sum()) == len(less) else None)


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
    shares = solved(cell.a_values, SOLVED), solved(cell.b_values, SOLVED)
    verdict = replace(verdict, solved=shares)
    best = max(np.mean(cell.a_values), np.mean(cell.b_values))
    if verdict.outcome != "no verdict" and cell.floor is not None and best <= cell.floor:
        return replace(
            verdict,
            outcome="no verdict",
            reason=f"neither arm passes the floor of {cell.floor:.3f}, reached without the skill",
        )
    return verdict
