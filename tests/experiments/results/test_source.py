"""A command reads each file of the results once; what is damaged is left out and told."""

import builtins
import io
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import toys
from synthetic_results import (
    accuracies,
    frames,
    same,
    write_mixed,
    write_toy,
)
from typer.testing import CliRunner

from experiments.analysis.figures import draw
from experiments.cli.main import app
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.results.archive import write_archive
from experiments.results.long_table import load_curves, load_runs, read_results
from experiments.results.parquet import build_tables, stamp_of
from experiments.results.source import open_source
from experiments.runs.folder import RunFolder
from experiments.runs.integrity import sealing
from experiments.runs.output import record_grid

FIGURES = [{"kind": "plane"}, {"kind": "learning_curves"}]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_mixed(tmp_path / "runs")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was opened, by its name and that of its folder."""
    found: Counter[str] = Counter()
    real = io.open

    def counting(file: Any, *arguments: Any, **options: Any) -> Any:
        found["/".join(Path(str(file)).parts[-2:])] += 1
        return real(file, *arguments, **options)

    monkeypatch.setattr(io, "open", counting)  # that of pathlib and zipfile
    monkeypatch.setattr(builtins, "open", counting)
    return found


@pytest.mark.parametrize(
    "command",
    [
        ("table",),
        ("table", "--markdown"),
        ("compare", "--claim", "capacity-equal", "--grid", "toy"),
        ("compare", "--claim", "needs-fewer-steps", "--grid", "toy"),
        ("figure", "plane"),
        pytest.param(("report",), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_a_command_opens_each_file_once(
    tmp_path: Path, opened: Counter[str], command: tuple[str, ...]
) -> None:
    folder = write_toy(tmp_path / "runs", seeds=2)
    points = json.loads((folder / "grids" / "toy.json").read_text())["points"]
    record_grid(folder, "toy", title="", figures=FIGURES, points=points)
    record_grid(folder, "half", title="", figures=FIGURES, points=points[::2])
    name, *options = command
    arguments = [*options, str(folder)]
    opened.clear()
    said = CliRunner().invoke(app, [name, *arguments])
    assert said.exit_code == 0, said.output
    results = {path: n for path, n in opened.items() if path.endswith("/result.json")}
    assert len(results) == 18 and set(results.values()) == {1}
    assert max(n for path, n in opened.items() if path.endswith("/config.json")) == 1
    assert max(n for path, n in opened.items() if path.startswith("grids/")) == 1
    metrics = {path: n for path, n in opened.items() if path.endswith("/metrics.jsonl")}
    curves = name in ("table", "report") or "needs-fewer-steps" in options
    assert set(metrics.values()) <= {1} and bool(metrics) == curves


@pytest.mark.parametrize("command", ["table", pytest.param("report", marks=pytest.mark.slow)])
def test_an_archive_is_opened_once(tmp_path: Path, opened: Counter[str], command: str) -> None:
    folder = write_toy(tmp_path / "runs", seeds=1)
    file = tmp_path / "results.zip"
    write_archive(folder, file)
    opened.clear()
    said = CliRunner().invoke(app, [command, str(file)])
    assert said.exit_code == 0 and opened[f"{tmp_path.name}/results.zip"] == 1


def test_figures_are_drawn_of_rows_that_a_person_chose(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "runs")
    runs, curves = load_runs(folder, "toy"), load_curves(folder, "toy")
    chosen = runs[runs["n_loops"] > 1]
    *_, csv = draw("capacity_versus_loops", chosen, folder=tmp_path)
    wanted = chosen[(chosen["item"] == "total")]["value"]
    assert len(csv.read_text().splitlines()) == 1 + len(wanted) == 7
    assert draw("learning_curves", curves[curves["n_loops"] > 1], folder=tmp_path)[0].is_file()
    runs.attrs.clear()  # where the rows come from
    with pytest.raises(LoopscopeError, match="the config of .* is needed"):
        draw("sample_efficiency", runs, folder=tmp_path)
    results = read_results(folder, "toy")
    assert draw("plane", results)[0] == folder / "figures" / "toy-plane.png"


def test_what_is_read_does_not_hang_on_who_asks_first(out: Path) -> None:
    source = open_source(out)
    read_results(source, "toy")
    whole = read_results(source)
    same(frames(out), (whole.runs, whole.curves))
    assert whole.read_from == f"{out}: 11 runs read from their folders"


def test_a_stamp_changes_with_size_and_time(out: Path) -> None:
    path = out / "loose"
    stamps = [stamp_of(path)]
    status = path / "status.json"
    text = status.read_bytes()
    status.write_bytes(text.replace(b"done", b"gone"))  # as long as before
    os.utime(status, ns=(0, status.stat().st_mtime_ns + 1))
    stamps.append(stamp_of(path))
    status.unlink()
    stamps.append(stamp_of(path))
    (path / "log.txt").write_text("results are not read from here")
    assert len(set(stamps)) == 3 and stamp_of(path) == stamps[-1]


@pytest.mark.parametrize("torn", [b'{"step": 30, "lo', b'{"step": 30}', b"\x00\xff\n", b"[1]\n"])
def test_torn_lines_are_left_out_and_reported(out: Path, torn: bytes) -> None:
    """All of a finished run, which may have lost any; those of another are good until there."""
    runs, curves = frames(out)
    for name in ("loose", "failed"):
        with RunFolder(out / name).metrics_path.open("ab") as file:
            file.write(torn)
    assert sorted(build_tables(out).problems) == [
        "failed/metrics.jsonl is torn after 1 lines: the rest is left out",
        "what loose measured while it was trained is left out: metrics.jsonl is damaged after 2 "
        "lines",
    ]
    same((runs, curves[curves["run_id"] != "loose"].reset_index(drop=True)), frames(out))
    assert {"loose", "failed"} <= set(curves["run_id"])


def test_damaged_files_are_reported_and_cost_no_other_run_its_rows(
    out: Path, tmp_path: Path
) -> None:
    (out / "loose" / "result.json").write_text('{"run_id": "loose", "meas')
    (out / "failed" / "config.json").write_text("{")
    built = write_archive(out, tmp_path / "results.zip")
    assert sorted(built.problems) == [
        "failed is left out: config.json is damaged (Expecting property name enclosed in double "
        "quotes: line 1 column 2 (char 1)): remove it, and `loopscope run` with its grid makes it "
        "again",
        "loose is left out: result.json is damaged (Unterminated string starting at: line 1 column "
        "21 (char 20)): `loopscope run` with its grid measures it again, where its checkpoint is "
        "there",
    ]
    same(frames(out), frames(tmp_path / "results.zip"))


def test_an_old_index_is_not_read(out: Path) -> None:
    before = frames(out)
    for name in ("index.parquet", "metrics.parquet"):
        (out / name).write_bytes(b"left by an older version")
    same(before, frames(out))


@pytest.mark.slow
def test_many_runs_are_read_in_little_time(tmp_path: Path) -> None:
    """200 runs with 100 lines: within a multiple of parsing them, on any machine."""
    fields = toys.config().model_dump(mode="json")
    runs = [RunConfig.model_validate(fields | {"seed": seed}) for seed in range(200)]
    lines = [{"step": s, "loss": 3 / s, "lr": 1e-3, "tokens": s} for s in range(1, 101)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    for run in runs:
        folder = RunFolder(tmp_path / run.run_id)
        folder.freeze(run)
        folder.metrics_path.write_text(text)
        result = {"run_id": run.run_id, "measurements": accuracies(4, {2: 0.5}, 0.1)}
        folder.write_result(result | sealing(folder, run))
    load_runs(tmp_path)
    start = time.process_time()
    for run in runs:
        folder = RunFolder(tmp_path / run.run_id)
        json.loads((folder.path / "result.json").read_text())
        for line in folder.metrics_path.read_text().splitlines():
            json.loads(line)
    plain = time.process_time() - start
    start = time.process_time()
    assert load_runs(tmp_path)["run_id"].nunique() == 200
    read = time.process_time()
    built = build_tables(tmp_path)
    assert max(read - start, time.process_time() - read) < 25 * plain
    assert (built.tables.runs.num_rows, built.tables.lines.num_rows) == (200, 20_000)
