"""Damaged files of a run: found, named, set aside, and made again from the last good state."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toys import assert_same_run, config, science, weights

from experiments.errors import LoopscopeError
from experiments.execution.job import Job, JobOutcome
from experiments.execution.worker import StopFlag, perform
from experiments.export.weights import export_run
from experiments.measuring.load import load_model
from experiments.results.parquet import build_tables
from experiments.runs.checkpoint import load_checkpoint, read_checkpoint
from experiments.runs.folder import RunFolder
from experiments.runs.lock import STALE_AFTER, RunLock
from experiments.training.train import train

RUN = config(steps=6)
Damage = Callable[[Path], object]


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00" * 50)


def torn(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 7)


def torn_within(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:9] + b"\n", *lines[3:]]))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("straight") / RUN.run_id)
    assert train(RUN, folder)
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was stopped after four of its six steps; the checkpoint of three is there."""
    folder = RunFolder(tmp_path_factory.mktemp("stopped") / RUN.run_id)
    asked = iter(range(1, 100))
    assert not train(RUN, folder, stop=lambda: next(asked) >= 4)
    assert folder.checkpoint_path.exists() and folder.previous_checkpoint_path.exists()
    return folder


def copy(folder: RunFolder, out: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(folder.path, out / folder.run_id)))


def gone_on(folder: RunFolder) -> JobOutcome:
    """As a worker goes on with it, after its grid was asked for again."""
    folder.freeze(RUN)
    (outcome,) = perform(Job(folder=folder.path), StopFlag())
    return outcome


@pytest.mark.parametrize(
    ("name", "damage", "resumes"),
    [
        ("checkpoint.pt", flipped, 3),
        ("checkpoint.pt", halved, 3),
        ("checkpoint.pt", emptied, 3),
        ("status.json", halved, 4),
        ("status.json", no_text, 4),
        ("config.json", halved, 4),
        ("config.json", emptied, 4),
        ("config.json", no_text, 4),
    ],
)
def test_damage_to_a_run_that_is_to_go_on(
    tmp_path: Path,
    straight: RunFolder,
    stopped: RunFolder,
    name: str,
    damage: Damage,
    resumes: int,
) -> None:
    folder = copy(stopped, tmp_path)
    damage(folder.path / name)
    damaged = (folder.path / name).read_bytes()
    assert folder.state() == "resumable"
    (message,) = (*folder.freeze(RUN), *gone_on(folder).notes)
    assert f"{folder.run_id}/{name} " in message and f"{name}.corrupt" in message
    log = (folder.path / "log.txt").read_text()
    assert message in log and f"resumes at step {resumes}" in log
    assert (folder.path / f"{name}.corrupt").read_bytes() == damaged
    assert_same_run(folder, straight)


def test_both_checkpoints_damaged(tmp_path: Path, straight: RunFolder, stopped: RunFolder) -> None:
    folder = copy(stopped, tmp_path)
    flipped(folder.checkpoint_path)
    halved(folder.previous_checkpoint_path)
    notes = gone_on(folder).notes
    assert [note.split()[0] for note in notes] == [
        f"{folder.run_id}/checkpoint.pt",
        f"{folder.run_id}/checkpoint.previous.pt",
    ]
    assert (folder.path / "log.txt").read_text().count("starts on cpu") == 2
    assert_same_run(folder, straight)


def test_the_line_that_a_crash_tore_is_written_again(
    tmp_path: Path, straight: RunFolder, stopped: RunFolder
) -> None:
    folder = copy(stopped, tmp_path)
    with folder.metrics_path.open("a") as file:
        file.write('{"step": 5, "loss": 2.0')
    (note,) = gone_on(folder).notes
    assert "metrics.jsonl has 1 torn line; a copy is set aside as metrics.jsonl.corrupt" in note
    assert_same_run(folder, straight)


@pytest.mark.parametrize("damage", [torn, torn_within])
def test_lines_before_the_checkpoint_are_lost_alone_and_named(
    tmp_path: Path, straight: RunFolder, stopped: RunFolder, damage: Damage
) -> None:
    folder = copy(stopped, tmp_path)
    before = folder.metrics_path.read_bytes()
    damage(folder.metrics_path)
    note, told = gone_on(folder).notes
    assert "metrics.jsonl has 1 torn line" in note and "up to step 4 are kept" in note
    (lost,) = set(before.splitlines()) - set(folder.metrics_path.read_bytes().splitlines())
    assert (folder.path / "metrics.jsonl.corrupt").read_bytes() != before
    ours, theirs = science(folder), science(straight)
    step = json.loads(lost)["step"]
    assert len(ours["metrics"]) == len(theirs["metrics"]) - 1
    assert all(line in theirs["metrics"] for line in ours["metrics"])
    assert sum(line["step"] == step for line in theirs["metrics"]) >= 1
    says = f"{folder.run_id}/metrics.jsonl lacks lines of step {step}: they were damaged"
    assert told.startswith(says) and told in (folder.path / "log.txt").read_text()
    assert build_tables(tmp_path).problems == (told,)
    assert ours.pop("metric_lines") == theirs.pop("metric_lines") - 1
    assert ours.pop("lost_metrics") == [step] and "lost_metrics" not in theirs
    del ours["metrics"], theirs["metrics"]
    assert ours == theirs
    assert all(torch.equal(w, weights(straight)[n]) for n, w in weights(folder).items())


def first_torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[5:])


def test_the_line_that_says_the_version_is_made_again(
    tmp_path: Path, straight: RunFolder, stopped: RunFolder
) -> None:
    folder = copy(stopped, tmp_path)
    first_torn(folder.metrics_path)
    (note,) = gone_on(folder).notes
    assert "metrics.jsonl has 1 torn line" in note
    assert folder.metrics_path.read_text().startswith('{"schema_version": 1}\n{"step": 1,')
    assert_same_run(folder, straight)


def removed(path: Path) -> None:
    path.unlink()


def shortened(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))


@pytest.mark.parametrize(
    ("damage", "lost"), [(removed, [1, 2, 3, 4]), (emptied, [1, 2, 3, 4]), (shortened, [4])]
)
def test_lines_that_are_gone_without_a_trace_are_missed(
    tmp_path: Path, stopped: RunFolder, damage: Damage, lost: list[int]
) -> None:
    folder = copy(stopped, tmp_path)
    damage(folder.metrics_path)
    (note,) = gone_on(folder).notes
    assert "metrics.jsonl lacks lines of" in note
    assert (folder.result() or {})["lost_metrics"] == lost
    assert [line["step"] for line in folder.metrics() if "loss" in line] == sorted(
        {1, 2, 3, 4, 5, 6} - set(lost)
    )


@pytest.mark.parametrize("damage", [halved, emptied, no_text, torn])
def test_a_damaged_result_is_measured_again(
    tmp_path: Path, straight: RunFolder, damage: Damage
) -> None:
    folder = copy(straight, tmp_path)
    damage(folder.path / "result.json")
    assert folder.state() == "resumable"
    (note,) = gone_on(folder).notes
    assert "result.json could not be read; set aside as result.json.corrupt" in note
    assert_same_run(folder, straight)


def test_a_lost_environment_is_named_and_not_guessed(tmp_path: Path, stopped: RunFolder) -> None:
    folder = copy(stopped, tmp_path)
    halved(folder.path / "environment.json")
    outcome = gone_on(folder)
    assert outcome.ended == "failed" and "environment.json is missing" in outcome.reason
    assert "environment.json.corrupt" in outcome.notes[0]


def test_a_checkpoint_of_another_run_is_not_gone_on_with(
    tmp_path: Path, straight: RunFolder, stopped: RunFolder
) -> None:
    other = RunFolder(tmp_path / config(seed=1, steps=6).run_id)
    assert train(config(seed=1, steps=6), other)
    folder = copy(stopped, tmp_path)
    shutil.copyfile(other.checkpoint_path, folder.checkpoint_path)
    (note,) = gone_on(folder).notes
    assert f"checkpoint.pt is damaged (ValueError: is that of {other.run_id})" in note
    assert_same_run(folder, straight)


def test_a_checkpoint_that_lacks_something_is_damaged(
    tmp_path: Path, straight: RunFolder, stopped: RunFolder
) -> None:
    folder = copy(stopped, tmp_path)
    state = torch.load(folder.checkpoint_path, weights_only=True)
    del state["optimiser"]
    torch.save(state, folder.checkpoint_path)
    (note,) = gone_on(folder).notes
    assert "has no optimiser" in note
    assert_same_run(folder, straight)


def listing(folder: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("damage", "why"), [(halved, "BadZipFile"), (flipped, r"\w+"), (emptied, "BadZipFile")]
)
def test_whoever_only_reads_a_damaged_checkpoint_is_told_and_changes_nothing(
    tmp_path: Path, straight: RunFolder, stopped: RunFolder, damage: Damage, why: str
) -> None:
    folder = copy(stopped, tmp_path)
    damage(folder.checkpoint_path)
    before = listing(folder)
    path = folder.checkpoint_path
    says = rf"^{path} is damaged \({why}: .*remove the run's result.json.* and run its grid again"
    for reader in (lambda: load_model(tmp_path, RUN.run_id), lambda: read_checkpoint(folder)):
        with pytest.raises(LoopscopeError, match=says):
            reader()
    assert listing(folder) == before
    (note,) = gone_on(folder).notes  # the same file, in the hands of the worker
    assert "set aside as checkpoint.pt.corrupt" in note
    assert_same_run(folder, straight)


def test_a_damaged_checkpoint_is_not_exported(tmp_path: Path, straight: RunFolder) -> None:
    folder, file = copy(straight, tmp_path), tmp_path / "weights.safetensors"
    flipped(folder.checkpoint_path)
    before = listing(folder)
    with pytest.raises(LoopscopeError, match=f"^{folder.checkpoint_path} is damaged"):
        export_run(folder.run_id, file, tmp_path, "safetensors")
    assert listing(folder) == before and not file.exists()


def test_a_reader_between_two_replacements_finds_the_one_before(
    tmp_path: Path, stopped: RunFolder
) -> None:
    folder = copy(stopped, tmp_path)
    step = read_checkpoint(folder)["step"]
    folder.checkpoint_path.unlink()
    assert read_checkpoint(folder)["step"] == step - 1
    folder.previous_checkpoint_path.unlink()
    with pytest.raises(LoopscopeError, match=f"{folder.path} has no checkpoint; run its grid"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (PermissionError(13, "Permission denied"), PermissionError),
        (MemoryError(), MemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), MemoryError),
    ],
)
def test_a_checkpoint_that_cannot_be_looked_at_is_not_called_damaged(
    tmp_path: Path,
    stopped: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    raised: type[Exception],
) -> None:
    folder = copy(stopped, tmp_path)

    def load(*_: object, **__: object) -> None:
        raise error

    before = listing(folder)
    monkeypatch.setattr(torch, "load", load)
    for read in (load_checkpoint, read_checkpoint):
        with pytest.raises(raised):
            read(folder)
    assert listing(folder) == before


def test_what_a_killed_process_left_is_swept_up(
    tmp_path: Path, straight: RunFolder, stopped: RunFolder
) -> None:
    folder = copy(stopped, tmp_path)
    large, old, new = (folder.path / n for n in (".checkpoint.1.tmp", ".a.1.tmp", ".b.1.tmp"))
    for path in (large, old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert gone_on(folder).ended == "done"
    assert not large.exists() and not old.exists()
    assert new.exists(), "it may be in somebody's hands"
    assert_same_run(folder, straight)


def test_an_empty_lock_expires_after_a_while(
    tmp_path: Path, straight: RunFolder, stopped: RunFolder
) -> None:
    folder = copy(stopped, tmp_path)
    folder.lock_path.write_bytes(b"")
    assert gone_on(folder).ended == "busy", "it may be being written"
    then = folder.lock_path.stat().st_mtime - STALE_AFTER - 1
    os.utime(folder.lock_path, (then, then))
    assert gone_on(folder).ended == "done"
    assert_same_run(folder, straight)


def test_a_lock_of_a_machine_that_went_down_expires_after_a_while(
    tmp_path: Path, straight: RunFolder, stopped: RunFolder
) -> None:
    folder = copy(stopped, tmp_path)
    lock = RunLock.acquire(folder.lock_path)
    assert lock is not None
    owner = json.loads(lock.text) | {"machine": "node7pid:[1]"}
    folder.lock_path.write_text(json.dumps(owner))
    assert gone_on(folder).ended == "busy"
    then = folder.lock_path.stat().st_mtime - STALE_AFTER - 1
    os.utime(folder.lock_path, (then, then))
    assert gone_on(folder).ended == "done"
    assert_same_run(folder, straight)
