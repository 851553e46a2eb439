"""Everything measured, as one long table: a row per run, grid point and measured number.

    runs = load_runs("runs/quick")
    test = runs.query("metric == 'accuracy' and split == 'test'")
    test.groupby(["part", "arm", "difficulty"]).value.mean()

A run that is not done has one row with its status, its reason and no value, so that nothing is
missing in silence.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import LoopscopeError
from experiments.store import RunFolder, read_json, run_folders
from models.config import LoopedConfig
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


@dataclass(frozen=True)
class Point:
    """A run's place in a grid. A run outside every grid has one point without a grid."""

    run_id: str
    grid: str = ""
    part: str = ""
    labels: dict[str, str] = field(default_factory=dict)


def load_points(out: Path, grid: str | None = None) -> list[Point]:
    """The points of one grid in its order, or of all grids and then the runs outside them.

    Raises:
        LoopscopeError: `out` is no folder of runs, has no such grid (with those it has), or a
            damaged record of one.
    """
    if not out.is_dir():
        raise LoopscopeError(f"{out} is no folder; `loopscope run GRID --out {out}` makes one")
    known = {path.stem: path for path in sorted(out.glob("grids/*.json"))}
    if grid is not None and grid not in known:
        names = ", ".join(known) or "none"
        raise LoopscopeError(f"{out} has no results of a grid {grid!r}; it has {names}")
    points: list[Point] = []
    for name in known if grid is None else [grid]:
        points += _recorded(known[name])
    if grid is None:
        placed = {p.run_id for p in points}
        points += [Point(f.run_id) for f in run_folders(out) if f.run_id not in placed]
    return points


def _recorded(path: Path) -> list[Point]:
    """The points in the record of a grid."""
    try:
        return [
            Point(str(point["run_id"]), path.stem, point["part"], {**point["labels"]})
            for point in (read_json(path) or {})["points"]
        ]
    except (KeyError, TypeError) as error:
        raise LoopscopeError(
            f"{path} is damaged; `loopscope run` with that grid writes it again"
        ) from error


@dataclass(frozen=True)
class Run:
    """One run folder, read only. What is not there is empty."""

    folder: RunFolder

    @cached_property
    def config(self) -> dict[str, Any]:
        """As frozen, empty if damaged; not validated: results outlive the plugin files in it."""
        config = read_json(self.folder.path / "config.json") or {}
        parts = (config.get(part) for part in ("task", "model", "objective", "training"))
        return config if all(isinstance(part, dict) for part in parts) else {}

    @cached_property
    def result(self) -> dict[str, Any]:
        return self.folder.result() or {}

    @cached_property
    def measurements(self) -> list[dict[str, Any]]:
        return self.result.get("measurements", [])

    @cached_property
    def columns(self) -> dict[str, Any]:
        """The columns that every row of this run shares."""
        config, result = self.config, self.result
        model = LoopedConfig.model_construct(**config.get("model", {}))
        parameters = result.get("parameters", {})
        total = parameters.get("total")
        embedding = parameters.get("embedding", 0) + parameters.get("head", 0)
        status = self.folder.status()
        shape = {"k": model.core, "n_loops": model.loops, "width": model.width}
        layers, arm = result.get("layers", model.layers), result.get("label", model.label)
        known = {**shape, "layers": layers, "arm": arm} if config else {}
        return {
            **known,
            "run_id": self.folder.run_id,
            "task": config.get("task", {}).get("kind", ""),
            "objective": config.get("objective", {}).get("kind", ""),
            "parameters": total,
            "embedding_share": embedding / total if total else None,
            "train_flops": result.get("train_flops"),
            "seed": config.get("seed"),
            "lr": config.get("training", {}).get("lr"),
            "exposures": result.get("exposures"),
            "step": result.get("steps", status.step if status else None),
            "status": self.folder.state(),
            "reason": status.reason if status else "",
            "cell": self.key("seed") if config else "",
            "cpu_seconds": result.get("timings", {}).get("cpu_seconds"),
        }

    def key(self, *without: str) -> str:
        """Hash of the config without `observe` and the given dotted paths.

        A path's `*` stands for every element of a list.
        """
        config = json.loads(json.dumps({**self.config, "observe": None}))
        for path in without:
            _remove(config, path.split("."))
        text = json.dumps(config, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def shown(self, measurement: dict[str, Any]) -> dict[str, Any]:
        """How often the component that was measured has been shown, where it is one."""
        component = self.result.get("components", {}).get(measurement.get("component"), {})
        return {"exposures": component["exposures"]} if "exposures" in component else {}

    @property
    def bits_per_parameter(self) -> float | None:
        """Of everything stored (in a mixture: of the counted component), from the last loop."""
        for row in self.measurements:
            if row.get("component", "") != (self.result.get("counted") or ""):
                continue
            last = row.get("loop") in (None, self.columns.get("n_loops"))
            if row["metric"] == "bits_per_parameter" and row.get("item") == "total" and last:
                return row["value"]
        return None


def _remove(data: Any, path: list[str]) -> None:
    head, *rest = path
    if head == "*":
        for element in data:
            _remove(element, rest)
    elif rest:
        _remove(data.get(head, {}), rest)
    else:
        data.pop(head, None)


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
                found[run.folder.run_id] = has_converged(R, longer.bits_per_parameter)
    return found


def load_runs(out: Path | str = "runs", grid: str | None = None) -> "pd.DataFrame":
    """The long table of the runs in `out`, or of one grid.

    `COLUMNS`, then one column per axis of the grids, holding the axis's label. `arm` is k⊗n, or
    the label of an axis called `arm`. `cell` is what runs that differ only in their seed share. A
    run with several places in grids has its rows once for each.

    Raises:
        LoopscopeError: `out` is no folder of runs or has no such grid.
    """
    points, runs = _read(out, grid)
    known = converged(runs.values())
    rows = []
    for point in points:
        run = runs[point.run_id]
        shared = {**_columns(run, point), "converged": known.get(point.run_id)}
        rows += [{**shared, **run.shown(m), **m} for m in run.measurements] or [shared]
    return _frame(rows, points)


def load_curves(out: Path | str = "runs", grid: str | None = None) -> "pd.DataFrame":
    """What was evaluated during training: `load_runs`'s columns, `step` being the step.

    The training loss is among it as metric `loss` (nats per predicted token, split `train`), and
    where the objective has a gate, of the same batch, `exit_probability` and `loop_loss` of every
    loop, `mean_exit` (loops) and `exit_entropy` (nats).

    Raises:
        LoopscopeError: `out` is no folder of runs or has no such grid.
    """
    points, runs = _read(out, grid)
    lines = {name: run.folder.metrics() for name, run in runs.items()}
    rows = []
    for point in points:
        shared = _columns(runs[point.run_id], point)
        for line in lines[point.run_id]:
            at = {**shared, "step": line["step"]}
            rows += [{**at, **m} for m in line.get("measurements", [])]
            rows += [{**at, "split": "train", **logged} for logged in _logged(line)]
    return _frame(rows, points)


def _logged(line: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the objective said of its batch, as rows."""
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


def _read(out: Path | str, grid: str | None) -> tuple[list[Point], dict[str, Run]]:
    folder = Path(out)
    points = load_points(folder, grid)
    names = dict.fromkeys(point.run_id for point in points)
    return points, {name: Run(RunFolder(folder / name)) for name in names}


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
