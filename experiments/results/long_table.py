"""Everything measured, as one long table: a row per run, grid point and measured number.

    runs = load_runs("runs/quick")
    test = runs.query("metric == 'accuracy' and split == 'test'")
    test.groupby(["part", "arm", "difficulty"]).value.mean()

A run that is not done has one row with its status, its reason and no value, so that nothing is
missing in silence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.results.code_versions import BETWEEN, Codes, mixed_text
from experiments.results.convergence import converged, logged
from experiments.results.records import Point, Run, curves_left_out, left_out, runs_of
from experiments.results.row_filter import MEASURED
from experiments.results.source import Source, open_source
from probes.statistics import first_step

if TYPE_CHECKING:
    import pandas as pd

#: column -> pandas type, in the order of the table; the labels of the grid's axes follow
COLUMNS = {
    **dict.fromkeys(("run_id", "grid", "part", "arm", "task"), "str"),
    **MEASURED,
    **dict.fromkeys(("k", "n_loops", "layers", "width"), "Int64"),
    "objective": "str",
    "parameters": "Int64",
    "embedding_share": "float64",
    "train_flops": "float64",
    "executed_flops": "float64",
    "seed": "Int64",
    "lr": "float64",
    "exposures": "float64",
    "step": "Int64",
    "status": "str",
    "reason": "str",
    "converged": "boolean",
    "cell": "str",
    "cpu_seconds": "float64",
    "code": "str",
}
#: accuracy during training at which a skill counts as there
EMERGED = 0.9


@dataclass(frozen=True)
class Results:
    """The results of a folder or an archive, or of one grid there, as data.

    Tables, figures, verdicts and reports are made of these and open no file.

    Attributes:
        runs: the long table, see `load_runs`, or a part of it.
        make_curves: makes `curves` when they are first asked for.
        config: run id -> its frozen config.
        path: of the folder or archive; None for tables from elsewhere.
        grid: whose results they are; None: of all grids.
        made: where files made of the results go; None: see `folder`.
        find_arms: finds `arms` when they are first asked for.
        find_source: finds `source` when it is first asked for.
    """

    runs: "pd.DataFrame"
    make_curves: Callable[[], "pd.DataFrame"]
    config: Callable[[str], RunConfig]
    path: Path | None = None
    grid: str | None = None
    made: Path | None = None
    find_arms: Callable[[], tuple[str, ...]] = tuple
    find_source: Callable[[], Source | None] = lambda: None

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """Every arm in the whole folder or archive, so that each has one look in all figures."""
        return self.find_arms()

    @cached_property
    def source(self) -> Source | None:
        """Where they were read; None for tables from elsewhere."""
        return self.find_source()

    @cached_property
    def curves(self) -> "pd.DataFrame":
        """What was evaluated during training, see `load_curves`."""
        return self.make_curves()

    @property
    def name(self) -> str:
        """What messages call the results."""
        return str(self.path or "the table")

    @property
    def folder(self) -> Path:
        """The folder for files made of the results; files made of an archive lie beside it."""
        if self.made is not None or self.path is None:
            return self.made or Path()
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def read_from(self) -> str:
        """A sentence for people: what was read."""
        return str(self.runs.attrs.get("read_from", ""))

    @property
    def problems(self) -> list[str]:
        """Sentences for people: which runs are left out since their files are damaged, and why.

        Those whose curves are left out are among them once `curves` was asked for.
        """
        found = [left_out(*item) for item in self.runs.attrs.get("left_out", {}).items()]
        if "curves" in vars(self):
            torn = self.curves.attrs.get("left_out", {})
            found += [curves_left_out(*item) for item in torn.items()]
        return found

    @property
    def notes(self) -> list[str]:
        """Sentences for people: runs of other code than others, and totals counted anew."""
        found = mixed_text(self.runs)
        if n := len(self.runs.attrs.get("recounted", [])):
            found.append(
                f"{n} run{'s' * (n != 1)} of bioD hold totals of version 1 of capacity_biod, which "
                "charged for strings that cannot be otherwise; shown are name and value together, "
                "as version 2 counts"
            )
        return found


#: what can be drawn: a folder or an archive, what was read of it, or rows of a long table
Data: TypeAlias = "Results | Source | Path | str | pd.DataFrame"


def read_results(data: Data, grid: str | None = None) -> Results:
    """The results in a folder or an archive, or of one of its grids; a file is read once.

    Rows of `load_runs` know where they come from: curves, configs and arms are read there when
    they are asked for. Other rows stand for both `runs` and `curves`. `Results` stay as they are.

    Raises:
        LoopscopeError: there is no folder or archive of runs, or it has no such grid.
    """
    if isinstance(data, Results):
        return data
    if not isinstance(data, Source | Path | str):
        return _of_rows(data)
    source = data if isinstance(data, Source) else open_source(data)
    points = source.points(grid)
    records = source.records(point.run_id for point in points)
    codes = Codes(records.values())
    runs = runs_of(records, codes.of)
    table = _frame(_run_rows(points, runs, codes), points)
    table.attrs["read_from"] = source.read_from(runs)
    damaged = {n: r.status["reason"] for n, r in records.items() if r.state == "damaged"}
    table.attrs["left_out"] = damaged
    table.attrs["recounted"] = [name for name, run in runs.items() if run.was_recounted]
    table.attrs["rows_of"] = str(source.path.absolute())

    def make_curves() -> "pd.DataFrame":
        curves = _frame(_curve_rows(points, runs, source.metrics(runs)), points)
        curves.attrs |= {**table.attrs, "left_out": source.torn(runs)}
        return curves

    def find_arms() -> tuple[str, ...]:
        every = points if grid is None else source.points()
        records = source.records(point.run_id for point in every)
        arms = (_columns(Run(records[p.run_id]), p).get("arm", "") for p in every)
        return tuple(dict.fromkeys(filter(None, arms)))

    of_source = (source.config, source.path, grid, source.made, find_arms, lambda: source)
    return Results(table, make_curves, *of_source)


def _of_rows(rows: "pd.DataFrame") -> Results:
    """Rows of a long table as results, with what they need from where they were read."""
    path = Path(rows.attrs.get("rows_of", ""))
    if "rows_of" not in rows.attrs or not path.exists():
        return Results(rows, lambda: rows, _no_config)
    whole: list[Results] = []  # read when something is asked of it, once

    def origin() -> Results:
        if not whole:
            whole.append(read_results(path))
        return whole[0]

    def make_curves() -> "pd.DataFrame":
        import pandas as pd

        curves, place = origin().curves, ["run_id", "grid", "part"]
        chosen = pd.MultiIndex.from_frame(rows[place])
        return curves[pd.MultiIndex.from_frame(curves[place]).isin(chosen)]

    return Results(
        rows,
        make_curves,
        lambda run_id: origin().config(run_id),
        find_arms=lambda: origin().arms,
        find_source=lambda: origin().source,
    )


def _no_config(run_id: str) -> RunConfig:
    raise LoopscopeError(
        f"the config of {run_id} is needed, which a table does not hold; "
        "pass what `read_results` read of a folder or an archive"
    )


def load_runs(out: Path | str = "runs", grid: str | None = None) -> "pd.DataFrame":
    """The long table of the runs in `out`, a folder or an archive, or of one of its grids.

    `COLUMNS`, then one column per axis of the grids, holding the axis's label. `arm` is k⊗n, or
    the label of an axis called `arm`. `cell` is what runs that differ only in their seed share. A
    run with several places in grids has its rows once for each. `attrs["read_from"]` says what
    was read: run folders or an archive.

    Raises:
        LoopscopeError: `out` is no folder or archive of runs, or has no such grid.
    """
    return read_results(out, grid).runs


def load_curves(out: Path | str = "runs", grid: str | None = None) -> "pd.DataFrame":
    """What was evaluated during training: `load_runs`'s columns, `step` being the step.

    `cpu_seconds` is the processor time until that evaluation, which lines of former versions lack.
    The training loss is among it as metric `loss` (nats per predicted token, split `train`), and
    where the objective has a gate, of the same batch, `exit_probability` and `loop_loss` of every
    loop, `mean_exit` (loops) and `exit_entropy` (nats). Where a run grew, `growth_loss` and
    `growth_last_loop` (nats per predicted token) are losses on the batch of that step, right
    before and right after, as `item` says. Where a phase has a goal, `goal_accuracy` is the
    lowest accuracy of its difficulties.

    Raises:
        LoopscopeError: `out` is no folder or archive of runs, or has no such grid.
    """
    return read_results(out, grid).curves


def _run_rows(points: list[Point], runs: dict[str, Run], codes: Codes) -> list[dict[str, Any]]:
    known = converged(runs.values())
    rows = []
    for point in points:
        run = runs[point.run_id]
        shared = {**_columns(run, point), "converged": known.get(point.run_id)}
        for m in run.measurements:
            of_probe = codes.of_probe(run.record, m.get("probe", ""))
            code = BETWEEN.join(filter(None, (run.told, of_probe)))
            rows.append({**shared, **run.shown(m), **m, "code": code})
        if not run.measurements:
            rows.append(shared)
    return rows


def _curve_rows(
    points: list[Point], runs: dict[str, Run], lines: dict[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    rows = []
    for point in points:
        shared = _columns(runs[point.run_id], point)
        for line in lines[point.run_id]:
            at = {**shared, "step": line["step"], "cpu_seconds": line.get("cpu_seconds")}
            rows += [{**at, **m} for m in line.get("measurements", [])]
            rows += [{**at, "split": "train", **row} for row in logged(line)]
    return rows


def emergence_step(curve: "pd.DataFrame", level: float = EMERGED) -> int | None:
    """First evaluated step at which one run's `value` reaches `level`, None if it never does.

    Args:
        curve: rows of `load_curves` of one run and one measured quantity, in any order.
    """
    return first_step(curve["step"].tolist(), curve["value"].tolist(), level)


def _columns(run: Run, point: Point) -> dict[str, Any]:
    """A label replaces a column of text (`arm`, `objective`: what the point asked for)."""
    place = {"grid": point.grid, "part": point.part}
    labels = {n: v for n, v in point.labels.items() if COLUMNS.get(n, "str") == "str"}
    return {**run.columns, **place, **labels}


def _frame(rows: list[dict[str, Any]], points: list[Point]) -> "pd.DataFrame":
    import pandas as pd

    axes = dict.fromkeys(name for point in points for name in point.labels)
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *(a for a in axes if a not in COLUMNS)])
    kinds = {str(name): COLUMNS.get(str(name), "str") for name in frame}
    empty = {name: "" for name, kind in kinds.items() if kind == "str"}
    return frame.astype(dict.fromkeys(empty, "object")).fillna(empty).astype(kinds)
