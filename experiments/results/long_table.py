"""Everything measured, as one long table: a row per run, grid point and measured number.

    runs = load_runs("runs/quick")
    test = runs.query("metric == 'accuracy' and split == 'test'")
    test.groupby(["part", "arm", "difficulty"]).value.mean()

A run that is not done has one row with its status, its reason and no value, so that nothing is
missing in silence.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.results.records import Point, Run
from experiments.results.source import Source, open_source
from probes.statistics import first_step, has_converged

if TYPE_CHECKING:
    import pandas as pd

#: column -> pandas type, in the order of the table; the labels of the grid's axes follow
COLUMNS = {
    "run_id": "str",
    "grid": "str",
    "part": "str",
    "arm": "str",
    "task": "str",
    "component": "str",
    "split": "str",
    "item": "str",
    "difficulty": "Int64",
    "loop": "Int64",
    "metric": "str",
    "value": "float64",
    "floor": "float64",
    "ceiling": "float64",
    "low": "float64",
    "high": "float64",
    "n_items": "Int64",
    "k": "Int64",
    "n_loops": "Int64",
    "layers": "Int64",
    "width": "Int64",
    "objective": "str",
    "parameters": "Int64",
    "embedding_share": "float64",
    "train_flops": "float64",
    "seed": "Int64",
    "lr": "float64",
    "exposures": "float64",
    "step": "Int64",
    "status": "str",
    "reason": "str",
    "converged": "boolean",
    "cell": "str",
    "cpu_seconds": "float64",
}


def converged(runs: Iterable[Run]) -> dict[str, bool]:
    """run id -> whether twice the exposures, all else equal, change R by less than 2 %.

    Runs without such a partner are left out: nothing is known about them.
    """
    families: dict[str, dict[float, Run]] = {}
    for run in runs:
        exposures = run.columns["exposures"]
        if run.config and exposures and run.bits_per_parameter is not None:
            key = run.key("training.phases.*.until_step", "training.phases.*.until_exposure")
            families.setdefault(key, {})[exposures] = run
    found = {}
    for family in families.values():
        for exposures, run in family.items():
            R, longer = run.bits_per_parameter, family.get(2 * exposures)
            if R is not None and longer is not None and longer.bits_per_parameter is not None:
                found[run.record.run_id] = has_converged(R, longer.bits_per_parameter)
    return found


def load_runs(out: Path | str = "runs", grid: str | None = None) -> "pd.DataFrame":
    """The long table of the runs in `out`, a folder or an archive, or of one of its grids.

    `COLUMNS`, then one column per axis of the grids, holding the axis's label. `arm` is k⊗n, or
    the label of an axis called `arm`. `cell` is what runs that differ only in their seed share. A
    run with several places in grids has its rows once for each. `attrs["read_from"]` says what
    was read: an index (see `experiments.results.index`), run folders, or an archive.

    Raises:
        LoopscopeError: `out` is no folder or archive of runs, or has no such grid.
    """
    source, points, runs = _read(out, grid)
    known = converged(runs.values())
    rows = []
    for point in points:
        run = runs[point.run_id]
        shared = {**_columns(run, point), "converged": known.get(point.run_id)}
        rows += [{**shared, **run.shown(m), **m} for m in run.measurements] or [shared]
    return _frame(rows, points, source.read_from(runs))


def load_curves(out: Path | str = "runs", grid: str | None = None) -> "pd.DataFrame":
    """What was evaluated during training: `load_runs`'s columns, `step` being the step.

    The training loss is among it as metric `loss` (nats per predicted token, split `train`), and
    where the objective has a gate, of the same batch, `exit_probability` and `loop_loss` of every
    loop, `mean_exit` (loops) and `exit_entropy` (nats). Where a run grew, `growth_loss` and
    `growth_last_loop` (nats per predicted token) are losses on the batch of that step, right
    before and right after, as `item` says.

    Raises:
        LoopscopeError: `out` is no folder or archive of runs, or has no such grid.
    """
    source, points, runs = _read(out, grid)
    lines = source.metrics(runs)
    rows = []
    for point in points:
        shared = _columns(runs[point.run_id], point)
        for line in lines[point.run_id]:
            at = {**shared, "step": line["step"]}
            rows += [{**at, **m} for m in line.get("measurements", [])]
            rows += [{**at, "split": "train", **logged} for logged in _logged(line)]
    return _frame(rows, points, source.read_from(runs))


def _logged(line: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the objective said of its batch, and what growth did to it, as rows."""
    for key, value in (line.get("growth") or {}).items():
        name, _, when = key.rpartition("_")
        if when in ("before", "after"):
            yield {"metric": f"growth_{name}", "item": when, "value": value}
    for name in ("loss", "mean_exit", "exit_entropy"):
        if name in line:
            yield {"metric": name, "value": line[name]}
    for name, metric in (("exit", "exit_probability"), ("loss", "loop_loss")):
        for key, value in line.items():
            head, _, loop = key.partition(".")
            if head == name and loop.isdigit():
                yield {"metric": metric, "loop": int(loop), "value": value}


def emergence_step(curve: "pd.DataFrame", level: float) -> int | None:
    """First evaluated step at which one run's `value` reaches `level`, None if it never does.

    Args:
        curve: rows of `load_curves` of one run and one measured quantity, in any order.
    """
    return first_step(curve["step"].tolist(), curve["value"].tolist(), level)


def read_from(out: Path | str, grid: str | None = None) -> str:
    """For people: where `load_runs` and `load_curves` read from, an index, folders or an archive.

    Raises:
        LoopscopeError: as `load_runs`.
    """
    source = open_source(out)
    return source.read_from(point.run_id for point in source.points(grid))


def _read(out: Path | str, grid: str | None) -> tuple[Source, list[Point], dict[str, Run]]:
    source = open_source(out)
    points = source.points(grid)
    records = source.records(point.run_id for point in points)
    return source, points, {name: Run(record) for name, record in records.items()}


def _columns(run: Run, point: Point) -> dict[str, Any]:
    """A label replaces a column of text (`arm`, `objective`: what the point asked for)."""
    place = {"grid": point.grid, "part": point.part}
    labels = {n: v for n, v in point.labels.items() if COLUMNS.get(n, "str") == "str"}
    return {**run.columns, **place, **labels}


def _frame(rows: list[dict[str, Any]], points: list[Point], read: str) -> "pd.DataFrame":
    import pandas as pd

    axes = dict.fromkeys(name for point in points for name in point.labels)
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *(a for a in axes if a not in COLUMNS)])
    kinds = {str(name): COLUMNS.get(str(name), "str") for name in frame}
    empty = {name: "" for name, kind in kinds.items() if kind == "str"}
    frame = frame.astype(dict.fromkeys(empty, "object")).fillna(empty).astype(kinds)
    frame.attrs["read_from"] = read
    return frame
