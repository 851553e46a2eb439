"""Files of a newer version: refused with a message that names them, and left as they are."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from toys import config, toy

from experiments.errors import LoopscopeError
from experiments.execution.job import Job
from experiments.execution.runner import run_grid
from experiments.execution.worker import StopFlag, perform
from experiments.planning import calibration
from experiments.results.archive import write_archive
from experiments.results.parquet import INDEX, METRICS
from experiments.runs.checkpoint import read_checkpoint
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import read_json, write_json
from experiments.training.train import train

RUN = config(steps=4)
GRID = toy(RUN)
NEWER = "says schema version 2, this loopscope"
#: files of records in an output folder
FILES = (
    "loopscope.json",
    "grids/toy.json",
    "config.json",
    "environment.json",
    "status.json",
    "metrics.jsonl",
    "checkpoint.pt",
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with one run that can be gone on with."""
    out = tmp_path_factory.mktemp("stopped")
    run_grid(toy(), out, progress=False)
    asked = iter(range(1, 100))
    assert not train(RUN, RunFolder(out / RUN.run_id), stop=lambda: next(asked) >= 2)
    run_grid(toy(), out, progress=False)
    return out


def copy(out: Path, to: Path) -> Path:
    return Path(shutil.copytree(out, to))


def place(out: Path, name: str) -> Path:
    return out / name if name in FILES[:2] else out / RUN.run_id / name


def made_newer(path: Path) -> None:
    if path.suffix == ".pt":
        torch.save(torch.load(path, weights_only=True) | {"schema_version": 2}, path)
    elif path.suffix == ".jsonl":
        path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    else:
        write_json(path, (read_json(path) or {}) | {"schema_version": 2})


def listing(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_every_file_of_a_run_says_its_version(stopped: Path, tmp_path: Path) -> None:
    out = copy(stopped, tmp_path / "out")
    folder = RunFolder(out / RUN.run_id)
    assert train(RUN, folder)
    others = {"log.txt"}
    for path in (p for p in out.rglob("*") if p.is_file() and p.name not in others):
        if path.suffix == ".json":
            assert json.loads(path.read_text())["schema_version"] == 1, path
        elif path.suffix == ".jsonl":
            assert json.loads(path.read_text().splitlines()[0]) == {"schema_version": 1}
        else:
            assert path.suffix == ".pt", f"{path} is not known to say its version"
            assert torch.load(path, weights_only=True)["schema_version"] == 1
    write_archive(out, file := tmp_path / "results.zip")
    with zipfile.ZipFile(file) as archive:
        for name in (INDEX, METRICS):
            known = pq.read_schema(io.BytesIO(archive.read(name))).metadata
            assert known[b"loopscope.schema_version"] == b"1"


@pytest.mark.parametrize("name", FILES[:5])
def test_a_grid_is_not_gone_on_with(stopped: Path, tmp_path: Path, name: str) -> None:
    out = copy(stopped, tmp_path / "out")
    path = place(out, name)
    made_newer(path)
    before = path.read_bytes()
    with pytest.raises(LoopscopeError, match=f"^{path} {NEWER}"):
        run_grid(GRID, out, workers=1, progress=False)
    assert path.read_bytes() == before
    assert not list(out.rglob("*.corrupt")) and not list(out.rglob("result.json"))


@pytest.mark.parametrize("name", FILES[2:])
def test_a_worker_writes_into_none(stopped: Path, tmp_path: Path, name: str) -> None:
    """Where a newer loopscope came in between after the grid was asked for."""
    out = copy(stopped, tmp_path / "out")
    path = place(out, name)
    made_newer(path)
    before = path.read_bytes()
    (outcome,) = perform(Job(folder=out / RUN.run_id), StopFlag())
    assert outcome.ended == "failed" and NEWER in outcome.reason and str(path) in outcome.reason
    assert path.read_bytes() == before
    assert not list(out.rglob("*.corrupt")) and not list(out.rglob("result.json"))


def test_a_reader_refuses_a_checkpoint(stopped: Path, tmp_path: Path) -> None:
    out = copy(stopped, tmp_path / "out")
    made_newer(place(out, "checkpoint.pt"))
    before = listing(out)
    with pytest.raises(LoopscopeError, match=NEWER):
        read_checkpoint(RunFolder(out / RUN.run_id))
    assert listing(out) == before


@pytest.mark.parametrize("name", [INDEX, METRICS])
def test_an_archive_is_not_replaced(stopped: Path, tmp_path: Path, name: str) -> None:
    file = tmp_path / "results.zip"
    write_archive(stopped, file)
    with zipfile.ZipFile(file) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    table = pq.read_table(io.BytesIO(members[name]))
    known = {**table.schema.metadata, b"loopscope.schema_version": b"2"}
    pq.write_table(table.replace_schema_metadata(known), newer := io.BytesIO())
    with zipfile.ZipFile(file, "w") as archive:
        for member, content in (members | {name: newer.getvalue()}).items():
            archive.writestr(member, content)
    before = listing(tmp_path)
    with pytest.raises(LoopscopeError, match=NEWER):
        write_archive(stopped, file)
    assert listing(tmp_path) == before


def test_a_calibration_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = calibration.cache_path("cpu")
    path.parent.mkdir(parents=True)
    write_json(path, {"schema_version": 2, "device": "x", "precision": {}})
    before = path.read_bytes()
    measured: list[Callable[[], object]] = []
    monkeypatch.setattr(calibration, "_step_seconds", lambda *a: measured.append(a) or 1.0)
    with pytest.raises(LoopscopeError, match=f"{path} says schema version 2.*remove the file"):
        list(calibration.calibrate("cpu"))
    assert not measured, "it is said before minutes of measuring"
    assert path.read_bytes() == before and calibration.load_calibration("cpu") is None
