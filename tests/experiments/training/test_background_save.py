"""Checkpoints that are written while training goes on."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import toys

from experiments.config.run import Observe
from experiments.runs.checkpoint import load_checkpoint
from experiments.runs.folder import RunFolder
from experiments.training import background_save
from experiments.training.background_save import Saver, own_copy, size_of
from experiments.training.train import train

#: of this test, as a background thread of a slow disk
SLOW = 0.2


def state(step: int) -> dict[str, Any]:
    weight = torch.full((4,), float(step))
    fields = {"step": step, "model": {"head": weight, "embedding": weight}}
    return fields | {"optimiser": {}, "counters": {}}


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every state is large, and the disk takes its time."""
    real = background_save.save_checkpoint

    def save(folder: RunFolder, state: dict[str, Any]) -> None:
        time.sleep(SLOW)
        real(folder, state)

    monkeypatch.setattr(background_save, "LARGE", 0)
    monkeypatch.setattr(background_save, "save_checkpoint", save)


def saver_of(path: Path) -> tuple[Saver, list[int]]:
    landed: list[int] = []
    path.mkdir(exist_ok=True)
    return Saver(RunFolder(path), landed.append), landed


@pytest.mark.usefixtures("slow_disk")
def test_what_is_written_is_the_state_as_it_was(tmp_path: Path) -> None:
    saver, landed = saver_of(tmp_path)
    first = state(1)
    start = time.perf_counter()
    saver.save(first, wait=False)
    assert time.perf_counter() - start < SLOW
    first["model"]["head"].fill_(-1)
    saver.poll()
    assert landed == [] and load_checkpoint(saver.folder)[0] is None
    saver.join()
    assert landed == [1]
    found = load_checkpoint(saver.folder)[0]
    assert found is not None and found["model"]["head"].tolist() == [1.0] * 4


@pytest.mark.usefixtures("slow_disk")
def test_one_is_written_at_a_time_and_the_last_is_waited_for(tmp_path: Path) -> None:
    saver, landed = saver_of(tmp_path)
    for step in (1, 2, 3):
        saver.save(state(step), wait=step == 3)
        assert landed == list(range(1, step if step < 3 else 4))
    found = load_checkpoint(saver.folder)[0]
    assert found is not None and found["step"] == 3


@pytest.mark.usefixtures("slow_disk")
def test_a_disk_that_is_full_is_said_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver, landed = saver_of(tmp_path)
    saver.save(state(1), wait=True)

    def full(folder: RunFolder, state: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(background_save, "save_checkpoint", full)
    saver.save(state(2), wait=False)
    with pytest.raises(OSError, match="No space"):
        for _ in range(100):
            time.sleep(0.01)
            saver.poll()
    assert landed == [1]
    found = load_checkpoint(saver.folder)[0]
    assert found is not None and found["step"] == 1


def test_copies_share_what_was_shared_and_leave_out_what_was_not_theirs() -> None:
    stack = torch.arange(12.0).view(3, 4)
    given = {"head": stack[1], "embedding": stack[1], "steps": [stack[2], (7, "a", None)]}
    copied = own_copy(given)
    assert copied["head"] is copied["embedding"]
    assert copied["head"].untyped_storage().nbytes() == 16
    assert copied["head"].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert copied["steps"][1] == (7, "a", None)
    assert size_of({"a": stack, "b": [stack]}) == 2 * 48


def test_training_is_the_same_however_checkpoints_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toys.config(steps=12, observe=Observe(probes=(), checkpoint_seconds=1e-6))
    plain = RunFolder(tmp_path / "plain" / config.run_id)
    beside = RunFolder(tmp_path / "beside" / config.run_id)
    train(config, plain)
    monkeypatch.setattr(background_save, "LARGE", 0)
    seen: set[str] = set()
    real = background_save.save_checkpoint

    def save(folder: RunFolder, state: dict[str, Any]) -> None:
        seen.add("main" if threading.current_thread() is threading.main_thread() else "beside")
        real(folder, state)

    monkeypatch.setattr(background_save, "save_checkpoint", save)
    assert not train(config, beside, stop=toys.stop_after(6))
    assert train(config, beside)
    assert seen == {"main", "beside"}
    toys.assert_same_run(plain, beside)


@pytest.mark.usefixtures("slow_disk")
def test_a_run_that_fails_leaves_nobody_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toys.config(steps=12, observe=Observe(checkpoint_seconds=1e-6))

    def stop() -> bool:
        raise RuntimeError("no more")

    folder = RunFolder(tmp_path / config.run_id)
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="no more"):
        train(config, folder, stop=stop)
    assert threading.active_count() == before
    found = load_checkpoint(folder)[0]
    assert found is not None and found["step"] == 1
