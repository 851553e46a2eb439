"""Ctrl-C, once and twice, whatever does the work: runs stop, and the same command goes on."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import ROOT, halfway, held_task, wait_until
from toys import assert_same_run

from experiments.execution.executor import GRACE
from experiments.grid.grid import load_grid
from experiments.runs.folder import RunFolder
from experiments.runs.lock import _is_alive
from experiments.training.train import train


def needs(library: str, extra: str) -> pytest.MarkDecorator:
    there = importlib.util.find_spec(library) is not None
    return pytest.mark.skipif(not there, reason=f"needs the {extra} extra")


LOCAL = ("--workers", "2")
SLURM = ("--backend", "slurm", "--option", "cluster=local")
RAY = ("--backend", "ray", "--workers", "2")
BACK_ENDS = pytest.mark.parametrize(
    "options",
    [
        pytest.param(LOCAL, id="local", marks=pytest.mark.faults),
        pytest.param(
            SLURM,
            id="slurm",
            marks=[pytest.mark.faults, pytest.mark.slow, needs("submitit", "slurm")],
        ),
        pytest.param(RAY, id="ray", marks=[pytest.mark.ray, needs("ray", "ray")]),
    ],
)
#: starts the command with its standard error in a file, in a session of its own
Start = Callable[[], tuple[subprocess.Popen[bytes], Path]]


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two runs that take seconds, or a minute and more while there is the file `slow`."""
    content = {
        "name": "held",
        "baseline": {
            "task": held_task(tmp_path),
            "model": {"kind": "looped", "width": 16, "heads": 2},
            "training": {"batch": 64, "phases": [{"until_step": 400}]},
            "observe": {
                "probes": [{"kind": "accuracy", "items": 16}],
                "log_every": 100,
                "checkpoint_seconds": 0.2,
            },
        },
        "axes": {"seed": [0, 1]},
    }
    path = tmp_path / "held.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def start(tmp_path: Path, grid: Path, options: tuple[str, ...]) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def command() -> tuple[subprocess.Popen[bytes], Path]:
        said = tmp_path / f"said-{len(started)}.txt"
        words = ["run", str(grid), "--out", str(tmp_path / "out"), *options]
        with said.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "experiments.cli.main", *words],
                stdout=subprocess.DEVNULL,
                stderr=file,
                env=os.environ | {"PYTHONPATH": ROOT},
                start_new_session=True,
            )
        started.append(process)
        return process, said

    yield command
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ctrl_c(command: subprocess.Popen[bytes]) -> None:
    """As a terminal does it: every process of the command's group is told."""
    os.killpg(command.pid, signal.SIGINT)


def runs_of(grid: Path, out: Path) -> list[RunFolder]:
    return [RunFolder(out / point.run_id) for point in load_grid(str(grid)).points]


def assert_goes_on(start: Start, grid: Path, folders: list[RunFolder], tmp_path: Path) -> None:
    """The same command resumes each run once, and what comes of it is the undisturbed run."""
    command, said = start()
    assert command.wait(300) == 0, said.read_text()
    for folder, point in zip(folders, load_grid(str(grid)).points, strict=True):
        log = (folder.path / "log.txt").read_text()
        assert log.count("starts on") == 1 and log.count("resumes at step") == 1, log
        straight = RunFolder(tmp_path / "straight" / folder.run_id)
        assert train(point.config, straight)
        assert_same_run(folder, straight)


@BACK_ENDS
def test_ctrl_c_loses_not_a_step(tmp_path: Path, grid: Path, start: Start) -> None:
    folders = runs_of(grid, tmp_path / "out")
    slow = tmp_path / "slow"
    slow.touch()
    command, said = start()
    pids = [wait_until(lambda f=folder: halfway(f)) for folder in folders]
    ctrl_c(command)
    assert command.wait(GRACE) == 130
    text = said.read_text()
    assert "stopping: runs write their checkpoints; once more to stop at once" in text
    assert "stopped; the same command goes on with the 2 runs left" in text
    assert "Traceback" not in text
    wait_until(lambda: not any(map(_is_alive, pids)), 30)
    for folder in folders:
        status = folder.status()
        assert status is not None and status.state == "stopped"
        assert status.checkpoint_step == status.step, "not a step is lost"
        assert folder.state() == "resumable"
    assert not list((tmp_path / "out").glob(".stop-*"))
    slow.unlink()
    assert_goes_on(start, grid, folders, tmp_path)


@BACK_ENDS
def test_a_second_ctrl_c_does_not_wait(tmp_path: Path, grid: Path, start: Start) -> None:
    folders = runs_of(grid, tmp_path / "out")
    slow, stuck = tmp_path / "slow", tmp_path / "stuck"
    slow.touch()
    command, said = start()
    pids = [wait_until(lambda f=folder: halfway(f)) for folder in folders]
    stuck.touch()  # no run will come to its next step, let alone write a checkpoint
    time.sleep(0.5)
    saved: list[Any] = [folder.status() for folder in folders]
    ctrl_c(command)
    wait_until(lambda: "once more to stop at once" in said.read_text(), GRACE)
    again = time.monotonic()
    ctrl_c(command)
    assert command.wait(GRACE) == 130
    assert time.monotonic() - again < GRACE / 2
    text = said.read_text()
    assert "stopped; the same command goes on with the 2 runs left" in text
    assert "Traceback" not in text
    wait_until(lambda: not any(map(_is_alive, pids)), 30)
    for folder, before in zip(folders, saved, strict=True):
        status = folder.status()
        assert status is not None and status.checkpoint_step == before.checkpoint_step
        assert folder.state() == "resumable"
    slow.unlink()
    stuck.unlink()
    assert_goes_on(start, grid, folders, tmp_path)
