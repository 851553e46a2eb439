"""What scores at one size foretell of those at another, over the records that have both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.errors import LoopscopeError
from experiments.suite.records import scored
from experiments.suite.score import Score
from experiments.text import NumberText, TextTable, number

if TYPE_CHECKING:
    from experiments.suite.card import Card

#: records that a rank correlation is told of
FEWEST = 4
#: permutations drawn where there are more than can be gone through
DRAWN = 10_000
#: differences at or below this are none: what sums of floats differ by
NONE = 1e-9
NOTE = (
    "Rank correlation: Spearman's, of the means over seeds; p: of no correlation, two-sided, by "
    "permutations. Same sign: differences from {beside} of which every seed had one sign at {low} "
    "and whose mean has it at {high}; opposite, none: the other two."
)


@dataclass(frozen=True)
class Foretold:
    """How far the scores of an axis at one size say those at another.

    Attributes:
        records: that have a value at both sizes.
        correlation: Spearman's, from -1 to 1; None with fewer than `FEWEST` records, or where all
            have one value at a size.
        p: of no correlation, two-sided.
        same, opposite, none: records whose difference from the plain one had the same sign in
            every seed at the first size, by what the mean difference is at the second.
    """

    axis: str
    records: int
    correlation: float | None
    p: float | None
    same: int
    opposite: int
    none: int


def foretold(low: Sequence["Card"], high: Sequence["Card"], beside: str) -> list[Foretold]:
    """A row for each axis that two sizes share.

    Args:
        low: cards at the size that foretells.
        high: cards at the size that is foretold.
        beside: name of the record from which the others differ.
    """
    before, after = ({card.name: card for card in cards} for cards in (low, high))
    names = [name for name in before if name in after]
    shared = dict.fromkeys(axis for name in names for axis in before[name].axes)
    axes = [axis for axis in shared if any(axis in after[name].axes for name in names)]
    return [_axis(axis, before, after, names, beside) for axis in axes]


def foretold_table(low: str, high: str, beside: str = "loop") -> TextTable:
    """The table of `foretold` for the records that are here.

    Raises:
        LoopscopeError: `beside` and another record are not scored at both, the sizes are one, or
            there is no such size.
    """
    if low == high:
        raise LoopscopeError(f"two sizes are compared, got {low} twice")
    before, after = scored(low), scored(high)
    there = {card.name for card in after}
    both = [card.name for card in before if card.name in there]
    if beside not in both or len(both) < 2:
        told = ", ".join(both) or "none"
        raise LoopscopeError(
            f"{beside} and another record must be scored at {low} and at {high}, and those that "
            f"are: {told}; `loopscope records` lists what is scored"
        )
    found = foretold(before, after, beside)
    rows = tuple(
        (row.axis, number(row.records), _short(row.correlation), _short(row.p))
        + tuple(map(number, (row.same, row.opposite, row.none)))
        for row in found
    )
    counts = [sum(getattr(row, name) for row in found) for name in ("same", "opposite", "none")]
    rows += (("all axes", "", "", "", *map(number, counts)),)
    heads = ("axis", "records", "rank correlation", "p", "same sign", "opposite", "none")
    note = NOTE.format(beside=beside, low=low, high=high)
    return TextTable(f"What scores at {low} foretell of those at {high}", heads, rows, (note,))


def _short(value: float | None) -> str:
    return "–" if value is None else NumberText(f"{value:.2g}", value)


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> tuple[float, float] | None:
    """Spearman's correlation and its p by permutations; None where it says nothing.

    Args:
        a, b: one value of each record.
    """
    from scipy.stats import permutation_test, rankdata, zscore

    if len(a) < FEWEST or len(set(a)) == 1 or len(set(b)) == 1:
        return None
    mine, theirs = zscore(rankdata(a)), zscore(rankdata(b))

    def statistic(ranks: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.moveaxis(ranks, axis, -1) @ theirs / len(theirs)

    found = permutation_test(
        (mine,),
        statistic,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=DRAWN,
        rng=np.random.default_rng(0),
    )
    return float(found.statistic), float(found.pvalue)


def _axis(
    axis: str,
    before: Mapping[str, "Card"],
    after: Mapping[str, "Card"],
    names: Sequence[str],
    beside: str,
) -> Foretold:
    scores = {n: (_score(before[n], axis), _score(after[n], axis)) for n in names}
    known = {n: pair for n, pair in scores.items() if all(s.value is not None for s in pair)}
    means = [[pair[i].value or 0.0 for pair in known.values()] for i in (0, 1)]
    correlation, p = rank_correlation(*means) or (None, None)
    told = [0, 0, 0]
    for name, (low, high) in known.items():
        if name == beside or beside not in known:
            continue
        if expected := _sign_of_all(low, known[beside][0]):
            told[expected * _sign_of_mean(high, known[beside][1])] += 1
    none, same, opposite = told  # as -1 counts from the end
    title = next(before[n].axes[axis].title for n in names if axis in before[n].axes)
    return Foretold(title, len(known), correlation, p, same, opposite, none)


def _score(card: "Card", axis: str) -> Score:
    return card.columns[0].scores.get(axis) or Score.none("the card is without it")


def _sign_of_all(mine: Score, theirs: Score) -> int:
    """The sign of the differences of all seeds that both have; 0 where there is no such one."""
    seeds = mine.per_seed.keys() & theirs.per_seed.keys()
    signs = {_sign(mine.per_seed[seed] - theirs.per_seed[seed]) for seed in seeds}
    return signs.pop() if len(signs) == 1 else 0


def _sign_of_mean(mine: Score, theirs: Score) -> int:
    return _sign((mine.value or 0.0) - (theirs.value or 0.0))


def _sign(difference: float) -> int:
    return 0 if abs(difference) <= NONE else 1 if difference > 0 else -1
