"""The local executor: a pool of persistent worker processes over "this folder, at least once".

A worker that dies is replaced and its run is tried again; other runs go on. Workers are plain
subprocesses in sessions of their own, so Ctrl-C reaches this process only, which then asks them
to write checkpoints.
"""

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from experiments.store import RunFolder
from experiments.worker import CLAIM_LOST, Job, Outcome

#: times a run is tried again after its worker died without reaching a new checkpoint
RETRIES = 3
#: seconds between looks at the workers, and the longest wait for Ctrl-C to be seen
LOOK = 0.25
#: seconds until a run that another process works on is asked for again
BUSY = 2.0
#: seconds that workers are given to write their checkpoints
GRACE = 60.0


@dataclass
class Slot:
    """A place for one worker, on one device."""

    device: str
    process: subprocess.Popen[bytes] | None = None
    folder: RunFolder | None = None

    def send(self, folder: RunFolder, allow_drift: bool) -> None:
        """Gives the slot's worker a run; starts a worker where there is none."""
        if self.process is None or self.process.poll() is not None:
            self.close()
            self.process = _spawn(folder.path / "log.txt")
        self.folder = folder
        job = Job(folder=folder.path.absolute(), device=self.device, allow_drift=allow_drift)
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it died just now: the end of its output says so
            self.process.stdin.write(job.model_dump_json().encode() + b"\n")
            self.process.stdin.flush()

    def close(self) -> None:
        """Lets the worker end, and waits for it."""
        if self.process is None:
            return
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.process = None

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


def _spawn(log: Path) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with log.open("ab") as errors:
        return subprocess.Popen(
            # -P: a folder called `experiments` where the command is typed must not shadow ours
            [sys.executable, "-P", "-m", "experiments.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            start_new_session=True,
            env=os.environ
            | one_thread
            | {"PYTHONPATH": path, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
        )


class Interrupts:
    """Counts Ctrl-C and SIGTERM instead of raising, so that no bookkeeping is cut in half."""

    def __init__(self) -> None:
        self.count = 0

    def _seen(self, number: int, frame: object) -> None:
        self.count += 1

    @contextmanager
    def watched(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # signals belong to the main thread
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._seen) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


@dataclass
class LocalExecutor:
    """Runs folders on the slots of this machine.

    Args:
        devices: one worker for each.
        finished: told of every run that ended, in the order of ending.
        look: called about four times a second with the runs being worked on.
        tell: given a sentence when a worker died, and when the executor is stopping.
    """

    devices: Sequence[str]
    allow_drift: bool = False
    finished: Callable[[Outcome], None] = lambda outcome: None
    look: Callable[[list[RunFolder]], None] = lambda running: None
    tell: Callable[[str], None] = lambda message: None

    slots: list[Slot] = field(default_factory=list, init=False)
    queue: deque[RunFolder] = field(default_factory=deque, init=False)
    elsewhere: list[tuple[float, RunFolder]] = field(default_factory=list, init=False)
    #: run id -> (deaths since the last new checkpoint, step of that checkpoint)
    deaths: dict[str, tuple[int, int]] = field(default_factory=dict, init=False)
    stopping: bool = field(default=False, init=False)

    def run(self, folders: Iterable[RunFolder]) -> bool:
        """Works through `folders`, longest first if they come so.

        Returns:
            Whether it was interrupted; every run can then be resumed.
        """
        self.queue.extend(folders)
        if not self.queue:
            return False
        self.slots = [Slot(device) for device in self.devices[: len(self.queue)]]
        interrupts = Interrupts()
        with interrupts.watched():
            try:
                while not interrupts.count and (self.queue or self.elsewhere or self._busy()):
                    self._assign()
                    self._collect()
                    self.look([slot.folder for slot in self._busy() if slot.folder])
                if interrupts.count:
                    self._stop(interrupts)
            finally:
                for slot in self._busy():
                    slot.signal(signal.SIGKILL)
                for slot in self.slots:
                    slot.close()
        return interrupts.count > 0

    def _busy(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.folder is not None]

    def _assign(self) -> None:
        now = time.monotonic()
        due = [folder for when, folder in self.elsewhere if when <= now]
        self.elsewhere = [(when, folder) for when, folder in self.elsewhere if when > now]
        self.queue.extend(folder for folder in due if not self._ended_elsewhere(folder))
        for slot in self.slots:
            if slot.folder is None and self.queue:
                slot.send(self.queue.popleft(), self.allow_drift)

    def _ended_elsewhere(self, folder: RunFolder) -> bool:
        """Whether the process that had this run has finished it, well or badly."""
        state = folder.state()
        if state == "running":
            self._later(folder)
        elif state == "done":
            self.finished(Outcome(run_id=folder.run_id, ended="done"))
        elif state == "failed":
            status = folder.status()
            reason = status.reason if status else ""
            self.finished(Outcome(run_id=folder.run_id, ended="failed", reason=reason))
        return state in ("running", "done", "failed")

    def _later(self, folder: RunFolder) -> None:
        self.elsewhere.append((time.monotonic() + BUSY, folder))

    def _collect(self) -> None:
        """Takes the answers that are there, waiting for a moment if there is none."""
        with selectors.DefaultSelector() as selector:
            for slot in self._busy():
                assert slot.process is not None and slot.process.stdout is not None
                selector.register(slot.process.stdout, selectors.EVENT_READ, slot)
            ready = selector.select(LOOK)
        for key, _ in ready:
            slot: Slot = key.data
            assert slot.process is not None and slot.process.stdout is not None
            line = slot.process.stdout.readline()
            folder, slot.folder = slot.folder, None
            assert folder is not None
            if line.endswith(b"\n"):
                self._answered(folder, Outcome.model_validate_json(line))
            else:
                self._died(folder, slot.process.wait())

    def _answered(self, folder: RunFolder, outcome: Outcome) -> None:
        if outcome.ended == "busy":
            self._later(folder)
        elif outcome.ended == "stopped" and not self.stopping:
            self._died(folder, -signal.SIGTERM)  # someone else stopped this worker
        else:
            self.finished(outcome)

    def _died(self, folder: RunFolder, status: int) -> None:
        """Tries a run again, unless its workers keep dying at the same place."""
        if self.stopping or status == CLAIM_LOST:
            self._later(folder)
            return
        known = folder.status()
        checkpoint = known.checkpoint_step if known else 0
        count, before = self.deaths.get(folder.run_id, (0, checkpoint))
        count = 1 if checkpoint > before else count + 1
        self.deaths[folder.run_id] = count, checkpoint
        how = _describe(status)
        if count <= RETRIES:
            message = f"its worker died ({how}); trying again from step {checkpoint}"
            folder.log(message)
            self.tell(f"{folder.run_id}: {message}")
            self.queue.appendleft(folder)
            return
        reason = (
            f"its worker died {count} times after step {checkpoint} without reaching another "
            f"checkpoint ({how}); see {folder.path / 'log.txt'}"
        )
        folder.fail(reason)
        self.finished(Outcome(run_id=folder.run_id, ended="failed", reason=reason))

    def _stop(self, interrupts: Interrupts) -> None:
        """Lets running workers write their checkpoints; a second Ctrl-C does not wait."""
        self.stopping = True
        if self._busy():
            self.tell("stopping: runs write their checkpoints; once more to stop at once")
        for slot in self._busy():
            slot.signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while self._busy() and interrupts.count < 2 and time.monotonic() < deadline:
            self._collect()
            self.look([slot.folder for slot in self._busy() if slot.folder])


def _describe(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    if -status == signal.SIGKILL:
        return "killed, often for want of memory"
    return f"signal {signal.Signals(-status).name}"
