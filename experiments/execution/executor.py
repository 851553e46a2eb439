"""The executor: works through run folders on a back end, each "at least once" until it ended.

What is tried again, how often, and what an interrupt means is decided here, once for all back
ends. A worker that dies costs one run one try; other runs go on.
"""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from experiments.execution.backends.backend import Backend
from experiments.execution.job import JobOutcome
from experiments.runs.folder import RunFolder

#: times a run is tried again after its worker died without reaching a new checkpoint
RETRIES = 3
#: seconds that one asks the workers for outcomes, and the longest wait for Ctrl-C to be seen
POLL = 0.25
#: seconds until a run that another process works on is asked for again
BUSY = 2.0
#: seconds that workers are given to write their checkpoints
GRACE = 60.0


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
class Executor:
    """Runs folders on a back end, which the caller closes.

    Args:
        finished: told of every run that ended, in the order of ending.
        refresh: called about four times a second with the runs being worked on.
        notify: given a sentence when a worker died, and when the executor is stopping.
    """

    backend: Backend
    finished: Callable[[JobOutcome], None] = lambda outcome: None
    refresh: Callable[[list[RunFolder]], None] = lambda running: None
    notify: Callable[[str], None] = lambda message: None

    queue: deque[RunFolder] = field(default_factory=deque, init=False)
    elsewhere: list[tuple[float, RunFolder]] = field(default_factory=list, init=False)
    #: run id -> (deaths since the last new checkpoint, step of that checkpoint)
    deaths: dict[str, tuple[int, int]] = field(default_factory=dict, init=False)
    stopping: bool = field(default=False, init=False)
    #: why runs cannot be written any more, which stops everything
    blocked: str = field(default="", init=False)

    def run(self, folders: Iterable[RunFolder]) -> bool:
        """Works through `folders`, longest first if they come so.

        Returns:
            Whether it was interrupted, or `blocked`; every run can then be resumed.
        """
        self.queue.extend(folders)
        interrupts = Interrupts()
        with interrupts.watched():
            while not (interrupts.count or self.blocked) and self._left():
                self._take_back()
                if self.queue:
                    self.backend.take(self.queue)
                self._collect()
                self.refresh(self.backend.running)
            if interrupts.count or self.blocked:
                self._stop(interrupts)
        return interrupts.count > 0 or bool(self.blocked)

    def _left(self) -> bool:
        return bool(self.queue or self.elsewhere or self.backend.running)

    def _take_back(self) -> None:
        """Puts runs that another process had and did not finish back into the queue."""
        now = time.monotonic()
        due = [folder for when, folder in self.elsewhere if when <= now]
        self.elsewhere = [(when, folder) for when, folder in self.elsewhere if when > now]
        self.queue.extend(folder for folder in due if not self._ended_elsewhere(folder))

    def _ended_elsewhere(self, folder: RunFolder) -> bool:
        """Whether the process that had this run has finished it, well or badly."""
        state = folder.state()
        if state == "running":
            self._later(folder)
        elif state == "done":
            self.finished(JobOutcome(run_id=folder.run_id, ended="done"))
        elif state == "failed":
            status = folder.status()
            reason = status.reason if status else ""
            self.finished(JobOutcome(run_id=folder.run_id, ended="failed", reason=reason))
        return state in ("running", "done", "failed")

    def _later(self, folder: RunFolder) -> None:
        self.elsewhere.append((time.monotonic() + BUSY, folder))

    def _collect(self) -> None:
        """Takes the answers that are there, waiting for a moment if there is none."""
        for folder, outcome in self.backend.ended(POLL):
            self._answered(folder, outcome)

    def _answered(self, folder: RunFolder, outcome: JobOutcome) -> None:
        if outcome.ended == "died":
            self._died(folder, outcome.reason)
        elif outcome.ended == "busy":
            self._later(folder)
        elif outcome.ended == "blocked":
            self.blocked = self.blocked or outcome.reason
        elif outcome.ended == "stopped" and not self.stopping:
            self._died(folder, "stopped by someone else")
        else:
            self.finished(outcome)

    def _died(self, folder: RunFolder, how: str) -> None:
        """Tries a run again, unless its workers keep dying at the same place."""
        if self.stopping:
            self._later(folder)
            return
        known = folder.status()
        checkpoint = known.checkpoint_step if known else 0
        count, before = self.deaths.get(folder.run_id, (0, checkpoint))
        count = 1 if checkpoint > before else count + 1
        self.deaths[folder.run_id] = count, checkpoint
        if count <= RETRIES:
            message = f"its worker died ({how}); trying again from step {checkpoint}"
            folder.log(message)
            self.notify(f"{folder.run_id}: {message}")
            self.queue.appendleft(folder)
            return
        reason = (
            f"its worker died {count} times after step {checkpoint} without reaching another "
            f"checkpoint ({how}); see {folder.path / 'log.txt'}"
        )
        with suppress(OSError):  # its folder may be gone
            folder.fail(reason)
        self.finished(JobOutcome(run_id=folder.run_id, ended="failed", reason=reason))

    def _stop(self, interrupts: Interrupts) -> None:
        """Lets running workers write their checkpoints; a second Ctrl-C does not wait."""
        self.stopping = True
        if self.backend.running:
            self.notify("stopping: runs write their checkpoints; once more to stop at once")
        self.backend.stop()
        deadline = time.monotonic() + GRACE
        while self.backend.running and interrupts.count < 2 and time.monotonic() < deadline:
            self._collect()
            self.refresh(self.backend.running)
