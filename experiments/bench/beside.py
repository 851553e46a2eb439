"""The arms of a recipe trained as one would without loopscope, and what that took.

Each run that a plain loop can train is trained by the ways asked for (`experiments.bench.
plain_runs`) from the same weights on the same documents, and evaluated by the probes of the grid
as often; `OUT/beside/WAY/RUN ID.json` holds its evaluations, under a checksum, and what is there is
not done again.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from experiments.bench.conclusion import misfit, shortened
from experiments.bench.plain_runs import TRAINERS, PlainRun
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.runs.json_files import SEAL, read_json, sealed, write_json

if TYPE_CHECKING:
    import pandas as pd

    from experiments.results.long_table import Results

FOLDER = "beside"


def check_fits(configs: Iterable[RunConfig]) -> None:
    """Checks that the other ways can train something of a grid.

    Raises:
        LoopscopeError: they can train none of its runs.
    """
    reasons = [misfit(config) for config in configs]
    if all(reasons):
        raise LoopscopeError(
            f"--beside needs an arm that the plain loop can train, and it {reasons[0]}; "
            "add such an arm to the grid, or leave --beside out"
        )


def train_beside(configs: Iterable[RunConfig], ways: Sequence[str], out: Path) -> None:
    """Trains what is not there yet of the runs that other ways can train, one after another.

    Each way first takes two steps that do not count, in which libraries import what they need.
    """
    torch.set_num_threads(1)
    warm = set[str]()
    for config in configs:
        for way in ways if not misfit(config) else ():
            path = out / FOLDER / way / f"{config.run_id}.json"
            if _record(path) is not None:
                continue
            if way not in warm:
                TRAINERS[way](PlainRun(shortened(config)))
                warm.add(way)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, sealed(_trained(config, way)))


def _trained(config: RunConfig, way: str) -> dict[str, Any]:
    run = PlainRun(config)
    measured = TRAINERS[way](run)
    return {"looks": run.looks, "measurements": measured, "cpu_seconds": run.spent()}


def results_beside(results: "Results", out: Path) -> Iterator[tuple[str, "Results"]]:
    """Yields (way, results) of the runs that were trained in another way as well."""
    runs = results.runs.drop_duplicates(["run_id", "cell"])
    for way in TRAINERS:
        found = {n: _record(out / FOLDER / way / f"{n}.json") for n in runs["run_id"]}
        there = {name: record for name, record in found.items() if record is not None}
        if there:
            rows = runs[runs["run_id"].isin(there)]
            ends = _table(rows, {name: [record] for name, record in there.items()})
            curves = _table(rows, {name: record["looks"] for name, record in there.items()})
            yield way, replace(results, runs=ends, make_curves=lambda curves=curves: curves)


def _record(path: Path) -> dict[str, Any] | None:
    """What was measured of a run; None where nothing was.

    Raises:
        LoopscopeError: the file is not what was written.
    """
    if not path.exists():
        return None
    record = read_json(path)
    text = path.read_text(encoding="utf-8", errors="replace")
    if record is None or sealed(record)[SEAL] not in text:
        raise LoopscopeError(
            f"{path} is damaged or was edited; remove it, and `loopscope bench recipe GRID --out "
            f"{path.parents[2]} --beside {path.parent.name}` makes it again"
        )
    return record


def _table(runs: "pd.DataFrame", lines: dict[str, list[dict[str, Any]]]) -> "pd.DataFrame":
    """The rows of runs in the long table, with what these lines measure in place of their own."""
    import pandas as pd

    rows = []
    for run in runs.to_dict("records"):
        for line in lines[run["run_id"]]:
            at = {name: line[name] for name in ("step", "cpu_seconds") if name in line}
            rows += [{**run, "status": "done", **at, **row} for row in line["measurements"]]
    return pd.DataFrame(rows, columns=runs.columns).astype(dict(runs.dtypes))
