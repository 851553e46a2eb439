"""The result that arms are to reach, and the rows of results that it is about."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from experiments.errors import LoopscopeError
from experiments.results import selection
from experiments.results.row_filter import parse, select
from experiments.text import number
from probes.statistics import SOLVED

if TYPE_CHECKING:
    import pandas as pd

    from experiments.results.long_table import Results


@dataclass(frozen=True)
class Goal:
    """The result that is to be reached.

    Attributes:
        metric: as the long table calls it.
        level: value to reach; None: as `within` says.
        within: of the highest final mean of any arm, the share that may be missing.
        share: of an arm's seeds that have to reach the value; None: their mean has to.
        split, item, difficulty: of the metric; None: any, and the hardest.
    """

    metric: str
    level: float | None = None
    within: float = 0.02
    share: float | None = None
    split: str | None = None
    item: str | None = None
    difficulty: int | None = None

    @property
    def of(self) -> str:
        """What is measured, in words."""
        parts = [self.item, self.split and f"split {self.split}"]
        if self.difficulty is not None:
            parts.append(f"difficulty {self.difficulty}")
        told = ", ".join(filter(None, parts))
        return f"{self.metric} ({told})" if told else self.metric

    def text(self, level: float) -> str:
        """The goal in words, where `level` is the value that has to be reached."""
        who = "mean over seeds" if self.share is None else f"{100 * self.share:g} % of the seeds"
        best = f", {100 * (1 - self.within):g} % of the best arm" if self.level is None else ""
        return f"{self.of}: {who} at {number(level)} or more{best}"


#: what is asked of a metric where nothing else is said
GOALS = {
    "accuracy": Goal("accuracy", level=SOLVED, share=0.9, split="test", item=""),
    "bits_per_parameter": Goal("bits_per_parameter", item="total"),
}


def chosen(results: "Results", where: Sequence[str]) -> "Results":
    """The results with those rows alone that meet conditions, see `experiments.results.row_filter`.

    Raises:
        LoopscopeError: no condition, an unknown column, or a value that a column cannot have.
    """
    conditions = parse(where)
    runs = select(results.runs, conditions)
    return replace(results, runs=runs, make_curves=lambda: select(results.curves, conditions))


def goal_of(results: "Results", metric: str = "", **asked: float | None) -> Goal:
    """The goal asked for; what is not is as usual for its metric.

    The metric is accuracy or bits per parameter, whichever is measured, the difficulty the hardest.

    Args:
        asked: fields of `Goal`; None: as usual. A level takes the place of `within` and the other
            way round.

    Raises:
        LoopscopeError: a metric has to be named.
    """
    measured = set(results.runs["metric"])
    usual = [name for name in GOALS if name in measured]
    if not metric and len(usual) != 1:
        many = " and ".join(usual) or "neither accuracy nor bits_per_parameter"
        raise LoopscopeError(
            f"{results.name} has {many}: name what is to be reached with --metric, and choose its "
            f"rows with --where; measured are {', '.join(sorted(measured - {''})) or 'none'}"
        )
    goal = GOALS.get(metric or usual[0], Goal(metric))
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if wrong := [f"--{n} {v}" for n, v in changes.items() if not isfinite(v)]:
        raise LoopscopeError(f"{', '.join(wrong)}: a number is needed that can be reached")
    if changes.get("share") == 0:
        raise LoopscopeError("--share 0: no seed would have to reach it; give more than 0, up to 1")
    if "level" in changes and "within" in changes:
        raise LoopscopeError("--level and --within both say what is to be reached; give one")
    if "within" in changes:
        changes["level"] = None
    goal = replace(goal, **changes)
    known = rows_of(results.runs, goal)["difficulty"].dropna()
    if goal.difficulty is None and len(known):
        goal = replace(goal, difficulty=int(known.max()))
    return goal


def rows_of(rows: "pd.DataFrame", goal: Goal) -> "pd.DataFrame":
    """The rows that a goal is about, at the last loop."""
    rows = selection.where(
        selection.last_loop(rows),
        metric=goal.metric,
        split=goal.split,
        item=goal.item,
        difficulty=goal.difficulty,
    ).dropna(subset=["value"])
    if (rows.groupby("run_id")["component"].nunique() > 1).any():
        names = ", ".join(sorted(set(rows["component"])))
        raise LoopscopeError(
            f"{goal.metric} is measured of {names}; choose one of them with --where component="
        )
    return rows
