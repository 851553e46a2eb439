"""What the explorer's page holds: every run, what was measured of it, its curves and its config.

Everything is plain data. Texts and runs are numbered, and each list of steps or config stands
there once, since a page of 2,000 runs is to stay small. A run that has several places in grids is
there once for each place.
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from experiments.analysis.report.grids import Shipped, asked
from experiments.results.long_table import COLUMNS, Results
from experiments.results.row_filter import MEASURED
from experiments.results.selection import axis_columns, difficulty_name, last_loop
from experiments.results.source import Source
from experiments.runs.reference import is_reference, name_of
from generators.plugins import choices, former_values
from generators.task import Task

if TYPE_CHECKING:
    import pandas as pd

#: what tells places apart
PLACE = ["run_id", "grid", "part"]
#: columns of a run that are no axes of the chart
NOT_DRAWN = ("run_id", "reason", "cell")
#: digits that are kept of a number
DIGITS = 5
#: points that are kept of a curve
POINTS = 50
#: what a curve is drawn of
CURVES = ("loss", "accuracy", "bits_per_parameter", "goal_accuracy", "mean_exit")


class Numbered(dict[str, int]):
    """Text -> its number, in the order in which they were first asked for."""

    def __missing__(self, text: str) -> int:
        self[text] = len(self)
        return self[text]


def explorer_data(
    results: Results,
    traces: dict[str, list[dict[str, Any]]] | None = None,
    shipped: Callable[[str], Shipped | None] = lambda name: None,
) -> dict[str, Any]:
    """The data of the page.

    Args:
        shipped: the grid of a name that comes with loopscope.
        traces: run id -> questions that were put to it, as `probes.stepping` says them.
    """
    runs = results.runs
    places = runs.drop_duplicates(PLACE)
    numbers = {key: i for i, key in enumerate(_places(places))}
    ids = places["run_id"].tolist()
    hard = runs[runs["difficulty"].notna()]
    # objectives with a gate log its probabilities; the last ones stand for what no probe measured
    # an array, since an empty list of booleans would be taken for one of no columns
    shown = np.array([key in numbers for key in _places(results.curves)], bool)
    curves = results.curves[shown]
    gates = curves[curves["metric"] == "exit_probability"]
    last = gates[gates["step"] == gates.groupby("run_id")["step"].transform("max")]
    return {
        "runs": ids,
        "reasons": places["reason"].tolist(),
        "difficulty": sorted({difficulty_name(task) for task in hard["task"].unique()}),
        "facts": _facts(places),
        "axes": axis_columns(places),
        **_measured([runs, last], numbers),
        **_curves(curves, numbers),
        **_configs(results.source, ids),
        "commands": _commands(results.source, places["grid"].unique(), shipped),
        "traces": traces or {},
    }


def _places(rows: "pd.DataFrame") -> Iterable[tuple[str, ...]]:
    return rows[PLACE].itertuples(index=False, name=None)


def rounded(value: Any) -> float | int | None:
    """A number with the digits that are kept; None for what is none.

    >>> rounded(0.123456789), rounded(3.0), rounded(float("nan")), rounded(float("inf"))
    (0.12346, 3, None, None)
    """
    if value is None or value != value or abs(value) == float("inf"):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short == int(short) and abs(short) < 1e15 else short


def _column(values: "pd.Series") -> list[float | int | None]:
    return [rounded(value) for value in values.astype("float64")]


def _facts(places: "pd.DataFrame") -> list[dict[str, Any]]:
    """The columns that say something: numbers as they are, texts by their number in `words`."""
    drawn = [c for c in COLUMNS if c not in MEASURED and c not in NOT_DRAWN]
    facts: list[dict[str, Any]] = []
    for name in (*drawn, *axis_columns(places)):
        column = places[name]
        if column.dtype in ("str", "boolean"):
            words = Numbered()
            texts = column.astype("str").where(column.notna(), "")
            numbers = [words[text] if text else None for text in texts]
            if words:
                facts.append({"name": name, "words": list(words), "values": numbers})
        elif column.notna().any():
            facts.append({"name": name, "values": _column(column)})
    return facts


def _measured(
    tables: Iterable["pd.DataFrame"], numbers: dict[tuple[str, ...], int]
) -> dict[str, Any]:
    """Columns of what was measured: place, quantity, difficulty, loop, value, floor."""
    names = Numbered()
    found: dict[str, list[Any]] = {
        name: [] for name in ("place", "quantity", "difficulty", "loop", "value", "floor")
    }
    for rows in tables:
        rows = rows[rows["value"].notna()]
        found["place"] += [numbers[key] for key in _places(rows)]
        said = rows[["component", "metric", "split", "item"]].itertuples(index=False, name=None)
        found["quantity"] += [names[", ".join(filter(None, texts))] for texts in said]
        for column in ("difficulty", "loop", "value", "floor"):
            found[column] += _column(rows[column])
    found["difficulty_of"] = found.pop("difficulty")
    return {**found, "quantities": list(names)}


def _curves(curves: "pd.DataFrame", numbers: dict[tuple[str, ...], int]) -> dict[str, Any]:
    """Of each place its curves: [name, steps, values], of the last loop and of all items.

    A name is [metric, component and split, difficulty].
    """
    rows = curves[curves["metric"].isin(CURVES) & curves["item"].isin(("", "total"))]
    rows = last_loop(rows[rows["value"].notna()])
    lines: dict[tuple[int, str], dict[int, float]] = {}
    said = rows[["component", "metric", "split"]].itertuples(index=False, name=None)
    numeric = zip(_column(rows["difficulty"]), rows["step"], rows["value"], strict=True)
    for place, (component, metric, split), (difficulty, step, value) in zip(
        _places(rows), said, numeric, strict=True
    ):
        name = json.dumps([metric, ", ".join(filter(None, (component, split))), difficulty])
        lines.setdefault((numbers[place], name), {}).setdefault(int(step), value)
    names, steps = Numbered(), Numbered()
    found: list[list[Any]] = [[] for _ in numbers]
    for (place, name), points in lines.items():
        every = sorted(points)
        kept = every[:: -(-len(every) // POINTS)]
        kept += every[-1:] if kept[-1] != every[-1] else []
        values = [rounded(points[step]) for step in kept]
        found[place].append([names[name], steps[json.dumps(kept)], values])
    return {
        "curves": found,
        "curve_names": list(map(json.loads, names)),
        "steps": [json.loads(text) for text in steps],
    }


def repeated(config: dict[str, Any]) -> dict[str, Any]:
    """A stored config as a grid file of today would say it, `seed` last.

    A field that came after the run was stored has another default today in some tasks; what all
    did before is then said.
    """
    tasks = choices(Task, "generators")

    def whole(part: Any) -> Any:
        if isinstance(part, list):
            return [whole(value) for value in part]
        if not isinstance(part, dict):
            return part
        known = tasks.get(str(part.get("kind")))
        before = former_values(known) if known is not None else {}
        return {**before, **{name: whole(value) for name, value in part.items()}}

    left_out = ("schema_version", "seed", "seal")
    fields = {k: whole(v) for k, v in config.items() if k not in left_out and v is not None}
    return {**fields, "seed": config.get("seed", 0)}


def one_run_grid(text: str, seed: int) -> str:
    """A grid file of one run, from the text of its config without the seed; as the page does.

    >>> print(one_run_grid("task: {kind: copy}", 3), end="")
    baseline:
      task: {kind: copy}
      seed: 3
    """
    lines = "".join(f"  {line}\n" for line in text.splitlines())
    return f"baseline:\n{lines}  seed: {seed}\n"


def _configs(source: Source | None, ids: list[str]) -> dict[str, Any]:
    """Texts of configs without their seed, and which of them, with which seed, each place has."""
    texts, found = Numbered(), []
    records = {} if source is None else source.records(ids)
    known: dict[str, tuple[int, int] | None] = {}
    for run_id in ids:
        if run_id not in known:
            config = records[run_id].config if run_id in records else {}
            known[run_id] = None
            if config:
                *_, (_, seed) = (fields := repeated(config)).items()
                del fields["seed"]
                key = json.dumps(fields, sort_keys=False)
                known[run_id] = texts[key], seed
        found.append(known[run_id])
    return {"config": found, "configs": [_yaml(json.loads(text)) for text in texts]}


def _yaml(fields: dict[str, Any]) -> str:
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=100).rstrip()


def typed(path: Path) -> str:
    """A path as one would type it here: from the current folder, unless that is further away.

    >>> typed(Path("runs/mine")), typed(Path.cwd() / "runs")
    ('runs/mine', 'runs')
    """
    name = name_of(path)
    return name if is_reference(name) else min(name, os.path.relpath(path), key=len)


def _commands(
    source: Source | None, grids: Iterable[str], shipped: Callable[[str], Shipped | None]
) -> dict[str, str]:
    """grid -> the command that trains and measures whatever it lacks."""
    if source is None:
        return {}
    known = {n: asked(n, source.grids[n], shipped(n)) for n in grids if n in source.grids}
    out = typed(source.path)
    out = f"runs/{source.path.stem}" if is_reference(out) else out
    return {name: grid.command("run", out, *grid.settings) for name, grid in known.items()}
