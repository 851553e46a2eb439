"""Every place where a run can be cut off: killed, or its disk full, at each operation on files.

A whole grid of one run is done in this process. Its operations on files are counted; then it is
done again as many times, each time with another of them struck, and gone on with.
"""

import errno
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from faulty import Faults
from toys import assert_same_run, config, toy

from experiments.errors import LoopscopeError
from experiments.execution import runner, worker
from experiments.execution.backends.backend import Ended, JobContext
from experiments.execution.runner import run_grid
from experiments.execution.worker import StopFlag, perform
from experiments.runs import repair
from experiments.runs.checkpoint import load_checkpoint
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import read_json
from experiments.training import background_save, recorder

pytestmark = pytest.mark.faults

RUN = config(steps=3)
#: operations between two that are struck; the long form strikes each
STRIDES = [pytest.param(17, id="some"), pytest.param(1, id="each", marks=pytest.mark.slow)]


class Here:
    """A back end that works in this process."""

    def __init__(self, context: JobContext) -> None:
        self.context, self.running = context, list[RunFolder]()

    def take(self, queue: deque[RunFolder]) -> None:
        if not self.running:
            self.running.append(queue.popleft())

    def ended(self, wait: float) -> list[Ended]:
        return [
            (folder, outcome)
            for folder in [self.running.pop() for _ in self.running[:1]]
            for outcome in perform(self.context.job(folder, "cpu"), StopFlag())
        ]

    def stop(self) -> None: ...

    def close(self) -> None: ...

    def describe(self, folders: Sequence[RunFolder]) -> str:
        return ""


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is done here, and nothing depends on how fast this machine is."""
    monkeypatch.setattr(runner, "make_backend", lambda options, context: Here(context))
    monkeypatch.setattr(recorder, "HEARTBEAT", 0.0)
    monkeypatch.setattr(worker, "BEAT", 3600.0)
    monkeypatch.setattr(repair, "STALE_AFTER", -1.0)  # whatever lies about is old


@pytest.fixture
def in_a_thread(monkeypatch: pytest.MonkeyPatch, threaded: bool) -> None:
    """Whether checkpoints are written beside training, as large ones are."""
    if threaded:
        monkeypatch.setattr(background_save, "LARGE", 0)


def run(out: Path) -> None:
    run_grid(toy(RUN), out, workers=1, progress=False)


@pytest.fixture
def straight(tmp_path: Path) -> tuple[RunFolder, list[str]]:
    """The undisturbed run and its operations on files."""
    out = tmp_path / "straight"
    with Faults(out).injected() as faults:
        run(out)
    return RunFolder(out / RUN.run_id), faults.seen


def cases(out: Path, operations: list[str], stride: int) -> Iterator[tuple[int, Path]]:
    for at in range(1 + stride // 2, len(operations) + 1, stride):
        yield at, out / f"{at}"


def killed(out: Path, at: int) -> None:
    """The same in a process that is killed at an operation."""
    child = os.fork()
    if child == 0:
        with Faults(out, at).injected():
            run(out)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"{at} was never reached"


def failing(out: Path, at: int, number: int, lasting: bool) -> tuple[str, str]:
    """The same in a process whose disk gives in; the operation it did so at, and what was said."""
    child = os.fork()
    told = out.with_suffix(".txt")
    if child == 0:
        said = ""
        with Faults(out, at, number, lasting=lasting).injected() as faults:
            try:
                run(out)
            except (LoopscopeError, OSError) as error:
                said = str(error)
        told.write_text(f"{faults.seen[at - 1] if faults.struck else ''}\n{said}")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    operation, _, said = told.read_text().partition("\n")
    return operation, said


def assert_nothing_half_written(out: Path) -> None:
    for path in out.rglob("*.json"):
        if path.name != "claim.json" and not path.name.startswith("."):
            assert isinstance(json.loads(path.read_text()), dict), path
    folder = RunFolder(out / RUN.run_id)
    for path in (folder.checkpoint_path, folder.previous_checkpoint_path):
        assert not path.exists() or load_checkpoint(folder)[1] == [], path


def assert_goes_on(out: Path, straight: RunFolder, what: str) -> None:
    """Gone on with, it is the undisturbed run, from where it stood, and nothing lies about."""
    folder = RunFolder(out / RUN.run_id)
    if folder.lock_path.exists() and not folder.lock_path.read_text().endswith("}"):
        os.utime(folder.lock_path, (0, 0))  # cut off while it was made: void after a minute
    state = load_checkpoint(folder)[0] if folder.has_checkpoint() else None
    done = folder.result() is not None
    log = folder.path / "log.txt"
    before = log.read_text() if log.exists() else ""
    run(out)
    assert_same_run(folder, straight)
    said = log.read_text()[len(before) :]
    if not done:
        expected = f"resumes at step {state['step']} on" if state else "starts on"
        assert expected in said, what
    left = {path.name for path in folder.path.iterdir()} - {"metrics.jsonl.corrupt"}
    spare = {"checkpoint.previous.pt", "claim.json", "claim.json.lock"}
    spare |= {name for name in left if name.startswith(".status.json.")}
    spare = spare if done else set()  # what is done is left as it was
    assert left - spare == {path.name for path in straight.path.iterdir()}, what
    assert not list(out.glob(".*")) and not list(out.glob("grids/.*")), what
    recorded = read_json(out / "grids" / "toy.json")
    assert recorded is not None and [p["run_id"] for p in recorded["points"]] == [RUN.run_id]


@pytest.mark.usefixtures("in_a_thread")
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("threaded", [False, True])
def test_killed_at_any_operation_the_run_is_the_same(
    tmp_path: Path, straight: tuple[RunFolder, list[str]], stride: int, threaded: bool
) -> None:
    undisturbed, operations = straight
    kinds = {operation.split()[0] for operation in operations}
    assert kinds >= {"open", "write", "fsync", "replace", "unlink", "mkdir"}
    for at, out in cases(tmp_path, operations, stride):
        killed(out, at)
        what = f"killed at {at} of {len(operations)}: {operations[at - 1]}"
        assert_nothing_half_written(out)
        assert_goes_on(out, undisturbed, what)


@pytest.mark.usefixtures("in_a_thread")
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize(
    ("number", "lasting", "threaded"),
    [
        (errno.ENOSPC, True, False),
        (errno.ENOSPC, False, False),
        (errno.ENOSPC, True, True),
        (errno.EROFS, True, False),
    ],
)
def test_wherever_the_disk_gives_in_nothing_is_half_written(
    tmp_path: Path,
    straight: tuple[RunFolder, list[str]],
    stride: int,
    number: int,
    lasting: bool,
    threaded: bool,
) -> None:
    undisturbed, operations = straight
    for at, out in cases(tmp_path, operations, stride):
        operation, said = failing(out, at, number, lasting)
        if not operation:  # fewer operations need space
            assert number == errno.ENOSPC
            continue
        what = f"{errno.errorcode[number]} at {at} of {len(operations)}: {operation}"
        done = RunFolder(out / RUN.run_id).state() == "done"
        if said or (lasting and not done):
            assert os.strerror(number) in said and str(out) in said, f"{what}: {said!r}"
        folder = RunFolder(out / RUN.run_id)
        status = folder.status()
        assert status is None or status.state != "failed", what
        assert_nothing_half_written(out)
        assert_goes_on(out, undisturbed, what)
