"""Configs and records that are no longer those that were written, in every command about runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toys import config, toy, trained
from typer.testing import CliRunner, Result

from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.execution.runner import run_grid
from experiments.results.archive import write_archive
from experiments.results.diff import differences
from experiments.results.long_table import load_runs
from experiments.runs.folder import RunFolder
from experiments.runs.output import prepare_output, record_grid

RUNS = [config(seed=seed, steps=2) for seed in (0, 1)]
FIRST, SECOND = (run.run_id for run in RUNS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs of one cell and the record of their grid."""
    out = tmp_path_factory.mktemp("finished") / "runs"
    prepare_output(out)
    for run in RUNS:
        RunFolder(out / run.run_id).freeze(run)
        trained(out, run)
    points = [{"run_id": p.run_id, "part": p.part, "labels": p.labels} for p in toy(*RUNS).points]
    record_grid(out, "toy", title="Toy", figures=[], points=points)
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "runs"))


def command(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def faster(config: dict[str, Any]) -> None:
    config["training"]["lr"] = 1.0


EDITS: list[tuple[Callable[[Path], object], str]] = [
    (lambda run: edit(run / "config.json", faster), "config.json is that of"),
    (lambda run: (run / "config.json").write_bytes(b""), "config.json is damaged"),
    (lambda run: (run / "config.json").unlink(), "config.json is missing"),
    (lambda run: (run / "result.json").write_bytes(b"{"), "result.json is damaged"),
    (lambda run: (run / "result.json").unlink(), "result.json is missing, and the run was done"),
]


@pytest.mark.parametrize(("damage", "said"), EDITS)
def test_status_counts_a_damaged_run_and_says_why(
    out: Path, damage: Callable[[Path], object], said: str
) -> None:
    assert "2 done" in command("status", out).stdout, "as a control: both are whole"
    damage(out / FIRST)
    shown = command("status", out).stdout
    assert "1 damaged, 1 done" in shown
    (row,) = [line for line in shown.splitlines() if line.startswith(FIRST)]
    assert " damaged " in row and said in row


def test_the_grid_gives_a_finished_run_its_own_config_back(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (out / FIRST / "config.json").read_text()
    edit(out / FIRST / "config.json", faster)
    found = run_grid(toy(*RUNS), out)
    assert found.done == (FIRST, SECOND)
    assert (out / FIRST / "config.json").read_text() == whole
    assert f"{FIRST}/config.json is that of another run" in capsys.readouterr().err
    edited = json.loads((out / FIRST / "config.json.corrupt").read_text())
    assert edited["training"]["lr"] == 1.0, "what somebody wrote is kept"
    assert command("table", out, "--strict").exit_code == 0


def test_the_fields_of_an_edited_config_are_not_compared(out: Path) -> None:
    assert differences(out / FIRST, out / SECOND) == [("seed", "0", "1")]
    edit(out / FIRST / "config.json", faster)
    with pytest.raises(LoopscopeError, match=f"{FIRST} is left out: config.json is that of"):
        differences(out / FIRST, out / SECOND)


def older(config: dict[str, Any]) -> None:
    """As it was frozen before there were these fields, whose defaults the run has."""
    for part, name in (("model", "zero_init"), ("training", "ema"), ("task", "cot")):
        del config[part][name]


def test_a_config_from_before_a_field_is_of_the_same_cell(out: Path) -> None:
    before = load_runs(out)["cell"].unique()
    assert len(before) == 1
    for run in (FIRST, SECOND):
        edit(out / run / "config.json", older)
        assert list(load_runs(out)["cell"].unique()) == list(before)
    edit(out / FIRST / "config.json", lambda c: c["model"].update(zero_init=False))
    assert differences(out / FIRST, out / SECOND) == [("seed", "0", "1")]


def test_an_archive_without_a_damaged_record_of_a_grid_can_be_read(
    out: Path, tmp_path: Path
) -> None:
    file = tmp_path / "a.zip"
    assert write_archive(out, file).problems == ()
    (out / "grids" / "toy.json").write_bytes(b"\x00garbage")
    (problem,) = write_archive(out, file).problems
    assert "the archive lacks a record of a grid" in problem and "toy.json is damaged" in problem
    assert problem in command("archive", out, file).stderr
    found = load_runs(file)
    assert set(found["run_id"]) == {FIRST, SECOND} and set(found["grid"]) == {""}


def test_a_run_that_failed_over_a_name_that_is_no_text_is_shown(out: Path) -> None:
    (out / FIRST / "result.json").unlink()
    RunFolder(out / FIRST).fail("no file b\udcff.py")
    found = load_runs(out)
    assert set(found["reason"][found["run_id"] == FIRST]) == {r"no file b\udcff.py"}
    for words in (("table", out), ("status", out), ("compare", out, "--claim", "solved-better")):
        assert not isinstance(command(*words).exception, ValueError), words
