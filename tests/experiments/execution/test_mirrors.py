"""Mirrors hold what metrics.jsonl holds, once, and never stop a run."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.errors import LoopscopeError
from experiments.execution import mirrors
from experiments.execution.mirrors import Mirrors, scalars
from experiments.runs.folder import RunFolder
from experiments.runs.repair import cut_metrics

LINES = [{"step": i, "loss": 1 / i, "measurements": []} for i in (1, 2, 3)]


@pytest.fixture(autouse=True)
def every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "EVERY", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "a-1x1-0").mkdir()
    return RunFolder(tmp_path / "a-1x1-0")


class FakeRun:
    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.over = False

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.over = True


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], FakeRun]]:
    """Stands for the library; what it was asked for."""
    asked: list[tuple[dict[str, Any], FakeRun]] = []

    def init(**options: Any) -> FakeRun:
        asked.append((options, FakeRun()))
        return asked[-1][1]

    monkeypatch.setitem(
        sys.modules, "wandb", SimpleNamespace(init=init, __spec__=SimpleNamespace(name="wandb"))
    )
    return asked


def test_lines_are_copied_once_even_if_they_are_written_again(
    tmp_path: Path, folder: RunFolder, wandb: list[tuple[dict[str, Any], FakeRun]]
) -> None:
    copies = Mirrors(["wandb"], tmp_path, "toy")
    for line in LINES[:2]:
        folder.append_metrics(line)
    copies.refresh([folder])
    cut_metrics(folder, 1)  # a crash: the run goes on from step 1
    copies.refresh([folder])
    for line in LINES[1:]:
        folder.append_metrics(line)
    copies.finished(folder.run_id)
    options, run = wandb[0]
    assert run.logged == [(1, {"loss": 1.0}), (2, {"loss": 0.5}), (3, {"loss": 1 / 3})]
    assert run.over and len(wandb) == 1
    assert options["mode"] == "offline" and options["id"] == folder.run_id
    again = Mirrors(["wandb"], tmp_path, "toy")
    again.finished(folder.run_id)
    assert len(wandb) == 1, "another command copies nothing twice"


def test_a_mirror_that_fails_is_turned_off(
    tmp_path: Path, folder: RunFolder, wandb: list[tuple[dict[str, Any], FakeRun]]
) -> None:
    def fail(self: FakeRun, values: dict[str, float], step: int) -> None:
        raise RuntimeError("no space in the cloud")

    said: list[str] = []
    copies = Mirrors(["wandb"], tmp_path, "toy")
    copies.notify = said.append
    folder.append_metrics(LINES[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeRun, "log", fail)
        copies.refresh([folder])
    folder.append_metrics(LINES[1])
    copies.refresh([folder])
    copies.close()
    assert len(said) == 1 and "no space in the cloud" in said[0]


def test_measurements_are_named_by_what_they_are_of() -> None:
    row = {"metric": "accuracy", "value": 0.5, "split": "test", "difficulty": 2, "loop": 1}
    line = {"step": 3, "loss": 1.0, "note": "x", "measurements": [row, {"metric": "none"}]}
    assert scalars(line) == {"loss": 1.0, "accuracy/test/difficulty 2/loop 1": 0.5}


def test_unknown_mirrors_and_missing_libraries_are_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LoopscopeError, match="did you mean 'tensorboard'"):
        Mirrors(["tensorbord"], tmp_path, "toy")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LoopscopeError, match=r"'loopscope\[mirrors\]'"):
        Mirrors(["wandb"], tmp_path, "toy")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_back_what_was_copied(tmp_path: Path, folder: RunFolder) -> None:
    pytest.importorskip("tensorboard", reason="needs the mirrors extra")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    copies = Mirrors(["tensorboard"], tmp_path, "toy")
    for line in LINES:
        folder.append_metrics(line)
    copies.finished(folder.run_id)
    found = EventAccumulator(str(tmp_path / "mirrors" / "tensorboard" / folder.run_id)).Reload()
    events = [(e.step, e.value) for e in found.Scalars("loss")]
    assert events == [(line["step"], pytest.approx(line["loss"])) for line in LINES]
