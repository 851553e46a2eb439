"""What tables and figures show of the long table: chosen rows, summaries of seeds, names."""

from collections.abc import Iterable, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from experiments.errors import LoopscopeError
from experiments.text import number
from probes.statistics import Bounds, Summary, fraction_solved, summarise_seeds

if TYPE_CHECKING:
    import pandas as pd

#: shares that come without a ceiling, and numbers of loops
SHARES, LOOPS = ("exit_probability",), ("exit_loops", "mean_loops", "mean_exit")
UNBOUNDED: Bounds = (-inf, inf)
#: what tells panels apart, before difficulties and arms
PLACE = ("grid", "part", "task", "component")
#: what may tell two cells of the same arm apart, first choice first
DESCRIPTIONS = (
    *("task", "width", "objective", "exposures", "step", "lr", "parameters", "code", "cell"),
)


def last_loop(runs: "pd.DataFrame") -> "pd.DataFrame":
    """Rows read from the last loop that the model was trained with, or from no loop."""
    return runs[runs["loop"].isna() | (runs["loop"] == runs["n_loops"])]


def where(runs: "pd.DataFrame", **wanted: Any) -> "pd.DataFrame":
    """Rows whose columns have the wanted values; a list or tuple holds alternatives, None any.

    Raises:
        LoopscopeError: an unknown column.
    """
    for column, value in wanted.items():
        if value is None:
            continue
        if column not in runs:
            raise LoopscopeError(
                f"the results have no column {column!r}; they have {', '.join(map(str, runs))}"
            )
        alternatives = value if isinstance(value, list | tuple) else [value]
        if runs[column].dtype == "str":
            alternatives = [str(v) for v in alternatives]
        runs = runs[runs[column].isin(alternatives)]
    return runs


def over_seeds(rows: "pd.DataFrame", by: Sequence[str]) -> "pd.DataFrame":
    """One row per group: mean, low, high, n seeds, solved, and the mean floor and ceiling.

    The interval is that of `summary_of`. A run that has several places in grids counts once in a
    group.
    """
    import pandas as pd

    by = list(dict.fromkeys(by))
    rows = rows.dropna(subset=["value"]).drop_duplicates(["run_id", *by])
    grouped = rows.groupby(by, sort=False, dropna=False)
    groups = pd.Series(np.arange(len(rows)), rows.index).groupby(grouped.ngroup().to_numpy())
    numbers = _Numbers.of(rows, "value")
    found = []
    for _, places in groups:
        some = numbers.at(places.to_numpy())
        found.append({**some.summary()._asdict(), "solved": fraction_solved(some.values.tolist())})
    first = rows.iloc[groups.first().to_numpy()]
    keys = pd.DataFrame({column: first[column].tolist() for column in by})
    columns = ["mean", "low", "high", "n", "solved"]
    means = grouped[["floor", "ceiling"]].mean().reset_index(drop=True)
    return pd.concat([keys, pd.DataFrame(found, columns=columns), means], axis=1)


def summary_of(rows: "pd.DataFrame", column: str = "value") -> Summary:
    """Mean over the seeds of one metric, with an interval that its bounds allow.

    Accuracies and other shares have that of `probes.statistics.bounded`, which holds for bimodal
    seeds. Everything else has a t interval, which ends at 0 and R_max for bits, and at 1 and the
    most loops for loops.
    """
    return _Numbers.of(rows[rows[column].notna()], column).summary()


def are_shares(rows: "pd.DataFrame", column: str = "value") -> bool:
    """Whether the numbers of one metric are shares of [0, 1], such as accuracies."""
    return _Numbers.of(rows, column).are_shares()


def bounds_of(rows: "pd.DataFrame", column: str = "value") -> Bounds:
    """The least and the most that the numbers of one metric can be.

    What lies beyond a bound, such as bits below 0, shows that it is none.
    """
    return _Numbers.of(rows, column).bounds()


class _Numbers(NamedTuple):
    """Numbers and what says of which kind they are: arrays, since pandas is slow on few rows.

    Attributes:
        metrics: of each number.
        ceilings, loops: of each number; None where the rows do not say them.
    """

    values: np.ndarray
    metrics: np.ndarray
    ceilings: np.ndarray | None
    loops: np.ndarray | None

    @classmethod
    def of(cls, rows: "pd.DataFrame", column: str) -> Self:
        named = column == "value" and "metric" in rows
        metrics = rows["metric"].to_numpy(object) if named else np.full(len(rows), column, object)
        others = (rows[c].to_numpy(float) if c in rows else None for c in ("ceiling", "n_loops"))
        return cls(rows[column].to_numpy(float), metrics, *others)

    def at(self, places: np.ndarray) -> Self:
        others = (None if part is None else part[places] for part in (self.ceilings, self.loops))
        return type(self)(self.values[places], self.metrics[places], *others)

    def are_shares(self) -> bool:
        metric = str(self.metrics[0])
        shares = metric == "accuracy" or metric in SHARES
        if not shares and not metric.startswith("bits") and self.ceilings is not None:
            shares = bool((self.ceilings == 1).all())
        return shares and bool(((self.values >= 0) & (self.values <= 1)).all())

    def bounds(self) -> Bounds:
        if self.are_shares():
            return 0.0, 1.0
        metric, (low, high) = str(self.metrics[0]), UNBOUNDED
        if metric.startswith("bits"):
            low, high = 0.0, _most(self.ceilings)
        elif metric in LOOPS:
            low, high = 1.0, _most(self.loops)
        inside = low <= self.values.min(), self.values.max() <= high
        return (low if inside[0] else -inf), (high if inside[1] else inf)

    def summary(self) -> Summary:
        return summarise_seeds(self.values.tolist(), self.bounds(), bimodal=self.are_shares())


def _most(values: np.ndarray | None) -> float:
    known = np.empty(0) if values is None else values[~np.isnan(values)]
    return float(known.max()) if len(known) else inf


def with_item_intervals(
    cells: "pd.DataFrame", rows: "pd.DataFrame", by: Sequence[str]
) -> "pd.DataFrame":
    """`over_seeds(rows, by)`, where a single seed has the interval over items it came with."""
    own = rows.groupby(list(by))[["low", "high"]].first()
    found = cells.merge(own, on=list(by), suffixes=("", "_of_items"))
    for end in ("low", "high"):
        found[end] = found[end].astype(float).fillna(found.pop(f"{end}_of_items"))
    return found


def with_failed(rows: "pd.DataFrame", runs: "pd.DataFrame") -> "pd.DataFrame":
    """Measured rows, and for every failed run such rows as others of its cell have, of value 0."""
    import pandas as pd

    failed = runs[(runs["status"] == "failed") & ~runs["run_id"].isin(rows["run_id"])]
    failed = failed.drop_duplicates(["run_id", "grid", "part"])
    place = ["grid", "part", "cell"]
    known = rows.drop_duplicates([*place, "component", "split", "difficulty"])
    own = ["run_id", "seed", "status", "reason"]
    added = known.drop(columns=own).merge(failed[[*place, *own]], on=place).assign(value=0.0)
    return pd.concat([rows, added[rows.columns]], ignore_index=True) if len(added) else rows


def joined(*columns: Iterable[str]) -> list[str]:
    """The texts of several columns row by row, commas between them; empty ones are left out."""
    return [", ".join(filter(None, texts)) for texts in zip(*columns, strict=True)]


def panels_of(rows: "pd.DataFrame", *, tasks: bool = True) -> list[str]:
    """The name of the panel of every row: the part of the grid or the task, then the component.

    The grid stands first where there are several. Without `tasks` a row of no part has no name.
    """
    parts = rows["part"].where(rows["part"] != "", rows["task"]) if tasks else rows["part"]
    grids = rows["grid"] if rows["grid"].nunique() > 1 else [""] * len(rows)
    return joined(grids, parts, rows["component"])


def exposures_of(rows: "pd.DataFrame", place: Sequence[str]) -> list[str]:
    """`100 exposures` where all rows of one `place` agree on it, else empty."""
    texts = rows["exposures"].map(number)
    one = texts.groupby([rows[c] for c in place], dropna=False).transform("nunique") == 1
    known = one & rows["exposures"].notna()
    return [
        describe("exposures", n) if k else "" for n, k in zip(rows["exposures"], known, strict=True)
    ]


def axis_columns(runs: "pd.DataFrame") -> list[str]:
    """The columns that hold labels of axes."""
    from experiments.results.long_table import COLUMNS

    return [str(c) for c in runs if c not in COLUMNS]


def varying(rows: "pd.DataFrame", given: Sequence[str], among: Sequence[str]) -> list[str]:
    """The fewest columns, taken in the order of `among`, that tell `cell`s apart beside `given`."""
    chosen: list[str] = []
    told_apart = len(rows[list(given)].drop_duplicates())
    for column in among:
        if len(rows[[*given, "cell"]].drop_duplicates()) <= told_apart:
            break
        finer = len(rows[[*given, *chosen, column]].drop_duplicates())
        if finer > told_apart:
            chosen.append(column)
            told_apart = finer
    return chosen


def series(
    rows: "pd.DataFrame", given: Sequence[str], first: Sequence[str], always: Sequence[str] = ()
) -> list[str]:
    """Text that tells apart runs which share `given` and are more than repeats over seeds.

    Empty text where nothing is to be told apart. Learning rates are left out: each arm has its
    own, so they would cut every line into points. `always` is told even so.
    """
    given = [*given, *always]
    labels = [c for c in axis_columns(rows) if c != "seed" and not c.endswith("lr")]
    among = [*first, "width", "objective", "exposures", "step", *labels, "arm"]
    if (rows.groupby("arm")["n_loops"].nunique() > 1).any():
        among = ["arm", *among]  # names that the grid gives, which say more than numbers do
    chosen = varying(rows, given, [c for c in dict.fromkeys(among) if c not in given])
    chosen = [*always, *chosen]
    told = zip(*(rows[c] for c in chosen), strict=True) if chosen else ((),) * len(rows)
    return [", ".join(map(describe, chosen, values)) for values in told]


def series_over_loops(
    rows: "pd.DataFrame", panel: Sequence[str], loops: Sequence[str] = ("n_loops",)
) -> list[str]:
    """`series` of lines over loops, each of which holds cores of one depth and width.

    1⊗2 and 2⊗1 differ in their loops, but no line from one to the other is about loops.

    Args:
        panel, loops: the columns that tell panels and numbers of loops apart.
    """
    within = rows.groupby(list(panel), dropna=False)
    always = [c for c in ("k", "width") if (within[c].nunique() > 1).any()]
    return series(rows, [*panel, *loops], [], always)


def describe(column: str, value: Any) -> str:
    """`100 exposures`, `lr 0.004`, `width 64`, or the value alone where it speaks for itself."""
    if column in ("arm", "task", "objective", "part", "code", "cell"):
        return str(value)
    if column in ("exposures", "parameters"):
        return f"{number(value)} {column}"
    if column == "step":
        return f"{number(value)} steps"
    if column in ("k", "n_loops"):
        return f"{column[0]} = {value}"
    return f"{column.rpartition('.')[2]} {number(value)}"


def difficulty_name(task: str) -> str:
    """What a task calls its difficulty, such as `hops`."""
    from generators.plugins import choices
    from generators.task import Task

    cls: Any = choices(Task, "generators").get(task)
    return Task.difficulty_name if cls is None else cls.difficulty_name


def difficulties_of(rows: "pd.DataFrame") -> list[str]:
    """The `difficulty_text` of every row."""
    return list(map(difficulty_text, rows["task"], rows["difficulty"]))


def difficulty_text(task: str, difficulty: Any) -> str:
    """`2 hops`, `1 hop`; `difficulty 2` where a task has no word for it, `all` without one."""
    import pandas as pd

    if pd.isna(difficulty):
        return "all"
    name = difficulty_name(task)
    if name == "difficulty":
        return f"difficulty {difficulty}"
    return f"{difficulty} {name.removesuffix('s') if difficulty == 1 else name}"
