"""Where workers go, on how many cores and GPUs, and what is shown of them."""

import os
from pathlib import Path

import pytest
from rich.console import Console
from toys import config

from experiments.errors import LoopscopeError
from experiments.execution.job import JobOutcome
from experiments.execution.progress import Progress
from experiments.machine import available_cores, worker_devices
from experiments.runs.folder import RunFolder
from experiments.runs.status import Status


@pytest.mark.parametrize(
    ("text", "most"),
    [("max 100000", 10**6), ("150000 100000", 1), ("50000 100000", 1), ("", 10**6)],
)
def test_cores_respect_the_container(tmp_path: Path, text: str, most: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert available_cores(tmp_path, tmp_path / "none") == min(len(os.sched_getaffinity(0)), most)


def test_workers_take_turns_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.machine.available_gpus", lambda: 2)
    assert worker_devices() == ("cuda:0", "cuda:1")
    assert worker_devices(slots_per_gpu=2) == ("cuda:0", "cuda:1") * 2
    assert worker_devices(3, slots_per_gpu=2) == ("cuda:0", "cuda:1", "cuda:0")
    with pytest.raises(LoopscopeError, match="--slots-per-gpu 2"):
        worker_devices(3)
    assert worker_devices(3, device="cpu") == ("cpu",) * 3
    monkeypatch.setattr("experiments.machine.available_gpus", lambda: 0)
    assert worker_devices(3) == ("cpu",) * 3
    with pytest.raises(LoopscopeError, match="torch finds no CUDA device"):
        worker_devices(device="cuda")


def test_progress_shows_running_runs_and_reasons(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "task-1x2-abc")
    folder.freeze(config())
    folder.lock_path.touch()
    console = Console(record=True, width=100, file=open(os.devnull, "w"))  # noqa: SIM115
    with Progress("Toy", total=4, done=1, failed=0, console=console) as progress:
        console.print(progress.drawn([folder]))
        folder.write_status(
            Status(
                state="running",
                step=50,
                last_step=200,
                loss=1.25,
                tokens_per_second=12345.6,
                seconds_left=75,
            )
        )
        console.print(progress.drawn([folder]))
        progress.finished(
            JobOutcome(run_id="other", ended="failed", reason="loss is nan at step 3")
        )
    shown = console.export_text()
    console.file.close()
    assert "Toy: 1/4 done, 1 running, 2 to go" in shown
    assert "starting" in shown
    assert "50/200" in shown and "1.2500" in shown
    assert "12,346" in shown and "1 min 15 s" in shown
    assert "2/4 failed other: loss is nan at step 3" in shown
