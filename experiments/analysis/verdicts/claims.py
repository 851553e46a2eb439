"""Claims about arms, and what a verdict on one holds."""

from dataclasses import dataclass
from typing import Literal

from experiments.analysis.verdicts.cells import Ability, Cell
from probes.statistics import Share

ALPHA = 0.05
NO_PAIRS = "no seed finished in both arms"
FISHER, SIGNS = "Fisher's exact test", "sign test"
MCNEMAR, PERMUTATION = "McNemar's exact test", "permutation test of paired seeds"
#: the fewest pairs that differ with which a test of signs or permutations has p < .05
FEWEST_SIGNS = 6
#: a t test of two pairs has one difference between them to judge the scatter by
FEWEST_T = 3
ONE_PAIR, TWO_PAIRS = (f"{n} of seeds: a demonstration" for n in ("1 pair", "2 pairs"))

#: by how much a single run ended elsewhere when it was trained again, in a stack, on another
#: machine and by other code (`bench repeats`; experiments/reference/repeats.json)
REPEATS = {"capacity": 0.65, "manipulation": 0.04}

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
    "solved-different": Hypothesis("solved", "different"),
    "solved-better": Hypothesis("solved", "better"),
    "needs-fewer-steps": Hypothesis("steps", "fewer"),
}


@dataclass(frozen=True)
class Verdict:
    """What one cell says. Numbers are None where they cannot be had.

    Attributes:
        reason: why there is no verdict, or why the claim stays undecided, where that is known.
        difference, low, high: B - A with its interval; for steps log2 of B / A, and only where
            the skill emerged in every run.
        test: the name of the test, where it is no t test.
        p, p_holm: p value of the claim's test, alone and corrected over the table.
        p_apart, p_apart_holm: p value of a difference beyond the margin, for `equal`.
        effect: d_z with Hedges' correction.
        seeds_needed: for a power of .8 before Holm, if spread and effect are as measured (for
            `equal`: if there is no difference); None: more than 10,000, or not known.
        power: chance that so many pairs of seeds show equality, on the same terms.
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
    power: float | None = None

    def beyond(self, margin: float) -> bool:
        """Whether the arms lie further apart than a margin, as measured."""
        return self.p_apart is not None and abs(self.difference or 0.0) > margin
