"""What the levers of training are worth: processor time of every arm until a stated result.

Arms are the cells of a grid: runs that differ in their seed alone. They are trained in turns, every
arm with the same seeds before other seeds begin, so that a change of the machine's load falls on
all of them alike. A result counts from the first evaluation on at which it is there. Other ways to
train, where they are asked for, have their turns with the same seeds of the arms that they can.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from experiments.bench.beside import check_fits, results_beside, train_beside
from experiments.bench.result_goal import Goal, rows_of
from experiments.errors import LoopscopeError
from experiments.execution.backends.options import backend_options
from experiments.execution.runner import GridOutcome, run_grid
from experiments.results import selection
from experiments.text import number

if TYPE_CHECKING:
    import pandas as pd

    from experiments.grid.grid import Grid
    from experiments.results.long_table import Results

HEAD = (
    *("arm", "seeds", "at the end", "over seeds", "reached at step", "exposures"),
    *("minutes a seed", "x the least", "a seed alone"),
)
NEVER = "not reached"


@dataclass(frozen=True)
class Cost:
    """What an arm took.

    Attributes:
        done: of its seeds, the runs that have a result; others count as not reaching anything.
        final: value of each seed at its end.
        step: of the evaluation at which the goal was reached; None: never.
        exposures: until then, or at the end; None where the task has none.
        minutes: of processor time of a seed until then, or until the end; the mean over seeds.
        alone: minutes after which each seed by itself was at the value, of those that ever were.
        estimated: the times of evaluations are not recorded, and taken in proportion to steps.
    """

    arm: str
    seeds: int
    done: int
    final: tuple[float, ...]
    step: int | None
    exposures: float | None
    minutes: float
    alone: tuple[float, ...]
    estimated: bool

    def times(self, least: float | None) -> float | None:
        """Its minutes in those of the cheapest arm that reaches the goal."""
        return self.minutes / least if least else None

    def row(self, least: float | None) -> tuple[str, ...]:
        """The numbers for a table headed by `HEAD`; `least` as in `times`. An arm that has not
        been run has not missed anything: its cells are empty."""
        seeds = str(self.seeds) if self.done == self.seeds else f"{self.done} of {self.seeds} done"
        if not self.done and not self.minutes:
            return (self.arm, seeds, *("" for _ in HEAD[2:]))
        about = "~" if self.estimated else ""
        more = "> " if self.step is None else ""
        times = self.times(least)
        alone = NEVER
        if self.alone:
            ends = f"{about}{min(self.alone):.2f} to {max(self.alone):.2f}"
            alone = f"{ends}, {len(self.alone)} of {self.seeds}"
        return (
            self.arm,
            seeds,
            f"{fmean(self.final):.3f}" if self.final else "",
            f"± {stdev(self.final):.3f}" if len(self.final) > 1 else "",
            NEVER if self.step is None else str(self.step),
            "" if self.exposures is None else number(round(self.exposures)),
            f"{more}{about}{self.minutes:.2f}",
            "" if times is None else f"{more}{times:.2f}",
            alone,
        )


def train_in_turns(
    grid: "Grid", out: Path, stack: int | None = None, beside: Sequence[str] = ()
) -> Iterator[GridOutcome]:
    """Trains what a grid lacks on one core, in rounds of as many seeds as are trained in one pass.

    Yields the outcome of every round, then that of the whole grid; ends where it is interrupted.

    Args:
        beside: other ways that train the same seeds of what they can train, in the same round.

    Raises:
        LoopscopeError: they can train no run of the grid.
    """
    if beside:
        check_fits(point.config for point in grid.points)
    seeds = list(dict.fromkeys(point.config.seed for point in grid.points))
    size = stack or 1
    where = backend_options("local", workers=1, device="cpu", stack=stack)
    for first in range(0, len(seeds), size):
        chosen = seeds[first : first + size]
        points = tuple(point for point in grid.points if point.config.seed in chosen)
        outcome = run_grid(replace(grid, points=points), out, backend=where)
        yield outcome
        if outcome.interrupted:
            return
        train_beside((point.config for point in points), beside, out)
    yield run_grid(grid, out, backend=where)


def rows(found: Sequence[Cost]) -> list[tuple[str, ...]]:
    """The costs as rows headed by `HEAD`."""
    least = _least(found)
    return [cost.row(least) for cost in found]


def records(found: Sequence[Cost]) -> list[dict[str, Any]]:
    """The costs for a file."""
    least = _least(found)
    return [{**asdict(cost), "times_the_least": cost.times(least)} for cost in found]


def _least(found: Sequence[Cost]) -> float | None:
    """Minutes of the cheapest arm that reaches the goal; None where none does."""
    return min((cost.minutes for cost in found if cost.step is not None), default=None)


def all_costs(results: "Results", goal: Goal, out: Path) -> tuple[list[Cost], float]:
    """`costs`, and after those what arms took that were trained in other ways as well."""
    found, level = costs(results, goal)
    for way, others in results_beside(results, out):
        theirs, _ = costs(others, replace(goal, level=level))
        found += [replace(cost, arm=f"{cost.arm}, {way}") for cost in theirs]
    return found, level


def costs(results: "Results", goal: Goal) -> tuple[list[Cost], float]:
    """The cost of every arm in the order of the grid, and the value that is to be reached.

    Raises:
        LoopscopeError: no run has measured what the goal is about, at its end or at all.
    """
    import pandas as pd

    runs = results.runs.drop_duplicates("run_id")
    final, curves = (
        rows_of(rows, goal).drop_duplicates(["run_id", "step"])
        for rows in (results.runs, results.curves)
    )
    if final.empty:
        known = sorted(set(results.runs["metric"]) - {""})
        raise LoopscopeError(
            f"no run of {results.name} that is done has measured {goal.of}; measured are "
            f"{', '.join(known) or 'none'}"
        )
    level = goal.level
    if level is None:
        level = (1 - goal.within) * final.groupby("cell")["value"].mean().max()
    names, found = _names(runs), []
    for cell, members in runs[runs["cell"] != ""].groupby("cell", sort=False):
        ids = members["run_id"]
        rows = pd.concat([curves[curves["run_id"].isin(ids)], final[final["run_id"].isin(ids)]])
        found.append(_cost(names[str(cell)], members, rows, goal, level))
    return found, level


def _names(runs: "pd.DataFrame") -> dict[str, str]:
    """Cell -> its arm, and what tells it apart from others of that arm."""
    labels = [c for c in selection.axis_columns(runs) if c != "seed"]
    among = ["width", "lr", *labels, "exposures", "step", "objective", "part", "cell"]
    columns = selection.varying(runs, ["arm"], among)
    names = {}
    for _, row in runs.drop_duplicates("cell").iterrows():
        texts = [selection.describe(c, row[c]) for c in columns if row[c] == row[c]]
        names[str(row["cell"])] = ", ".join([str(row["arm"]), *filter(None, texts)])
    return names


def _cost(name: str, runs: "pd.DataFrame", rows: "pd.DataFrame", goal: Goal, level: float) -> Cost:
    """The cost of an arm, of its rows at evaluations and at the end."""
    curves = [_Curve.of(run, rows[rows["run_id"] == run["run_id"]]) for _, run in runs.iterrows()]
    wanted = 1 if goal.share is None else goal.share * len(curves) - 1e-9
    reached = None
    for step in sorted({step for curve in curves for step in curve.steps}):
        values = [curve.value_at(step) for curve in curves]
        score = fmean(values) >= level if goal.share is None else sum(v >= level for v in values)
        if score >= wanted:
            reached = step
            break
    return Cost(
        arm=name,
        seeds=len(curves),
        done=sum(curve.done for curve in curves),
        final=tuple(curve.values[-1] for curve in curves if curve.done and curve.values),
        step=reached,
        exposures=_mean(curve.exposures_at(reached) for curve in curves),
        minutes=fmean(curve.seconds_at(reached) for curve in curves) / 60,
        alone=tuple(s / 60 for curve in curves if (s := curve.alone(level)) is not None),
        estimated=any(curve.estimated for curve in curves),
    )


def _mean(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


@dataclass(frozen=True)
class _Curve:
    """Evaluations of one run in order, the final measurement last.

    Attributes:
        exposures: at the end, where there are any.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]
    seconds: tuple[float, ...]
    done: bool
    exposures: float | None
    estimated: bool

    @classmethod
    def of(cls, run: "pd.Series", rows: "pd.DataFrame") -> "_Curve":
        """The curve of a run from its row of the long table and its measured rows."""
        rows = rows.sort_values("step", kind="stable")
        steps = [int(step) for step in rows["step"]]
        last, total = steps[-1] if steps else 1, run["cpu_seconds"]
        whole = 0.0 if total != total else float(total)  # without a result nobody knows
        seconds = [
            whole * step / last if taken != taken else float(taken)
            for step, taken in zip(steps, rows["cpu_seconds"], strict=True)
        ]
        shown = run["exposures"]
        return cls(
            tuple(steps),
            tuple(map(float, rows["value"])),
            tuple(seconds),
            run["status"] == "done",
            None if shown != shown else float(shown),
            bool(rows["cpu_seconds"].isna().any()),
        )

    def value_at(self, step: int) -> float:
        """The latest value; a run that has ended keeps its last, one that failed has none."""
        known = [v for s, v in zip(self.steps, self.values, strict=True) if s <= step]
        over = not self.done and bool(self.steps) and step > self.steps[-1]
        return known[-1] if known and not over else float("-inf")

    def seconds_at(self, step: int | None) -> float:
        """Processor time until the last evaluation up to a step; None: all of it."""
        known = [
            s for at, s in zip(self.steps, self.seconds, strict=True) if step is None or at <= step
        ]
        return known[-1] if known else 0.0

    def exposures_at(self, step: int | None) -> float | None:
        """How often each item was shown until a step; None: until the end."""
        if self.exposures is None or not self.steps:
            return None
        last = self.steps[-1]
        return self.exposures * (min(last, step) if step is not None else last) / last

    def alone(self, level: float) -> float | None:
        """Seconds until this run by itself is at the level; None: never."""
        reached = zip(self.values, self.seconds, strict=True)
        return next((seconds for value, seconds in reached if value >= level), None)
