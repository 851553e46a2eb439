"""Work on run folders, wherever it is done: a result is left alone, a checkpoint is resumed,
anything else starts anew.

`work` is one run as a generator that stops before each of its optimiser steps, so that several
runs can take them together; `perform` does one job in this process, and cluster back ends call
it. As a program this is a worker of the local back end: each line on its standard input is a
job, each line on its standard output what became of a run. Whatever else is printed while a run
is worked on goes to the log of that run.

SIGTERM, the death of the parent, or the job's stop file makes the run write a checkpoint and
stop. SIGINT is the parent's business.
"""

import errno
import faulthandler
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from experiments.errors import LoopscopeError
from experiments.execution.job import Ending, Job, JobOutcome
from experiments.runs.folder import RunFolder
from experiments.runs.lock import RunLock
from experiments.runs.repair import repair
from experiments.training.steps import Steps, run_to_end

#: seconds between two beats of the lock and checks for the parent and the stop file
BEAT = 2.0
#: exit status of a worker whose lock another process has taken (sysexits: temporary failure)
LOCK_LOST = 75
#: errors of a place where nothing can be written for now
BLOCKING = {
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE", "EACCES")
}


class StopFlag:
    """Set by SIGTERM or when the parent is gone."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self, *_: Any) -> None:
        self._event.set()

    def __call__(self) -> bool:
        return self._event.is_set()


@contextmanager
def locked(folder: RunFolder, stop: StopFlag, stop_file: Path | None) -> Iterator[bool]:
    """Whether this process has the run; keeps its lock alive and watches for a stop meanwhile."""
    lock = RunLock.acquire(folder.lock_path)
    if lock is None:
        yield False
        return
    parent, over = os.getppid(), threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            asked = stop_file is not None and stop_file.exists()
            if asked or os.getppid() != parent:
                stop.set()
            try:
                ours = lock.beat()
            except OSError:  # a disk in trouble, which the run will notice
                continue
            if not ours and not over.is_set():
                # asleep for too long: whoever has the run now must not be disturbed
                os._exit(LOCK_LOST)

    if stop_file is not None and stop_file.exists():
        stop.set()
    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield True
    finally:
        over.set()
        heart.join()
        with suppress(OSError):  # the lock expires once the heartbeat stops
            lock.release()


def work(
    job: Job, stop: StopFlag, clock: Callable[[], tuple[float, float]] | None = None
) -> Steps[JobOutcome]:
    """Does one run as far as it goes. Never raises for what the run does wrong."""
    folder, notes = RunFolder(job.folder), list[str]()

    def outcome(ended: Ending, reason: str = "") -> JobOutcome:
        return JobOutcome(run_id=folder.run_id, ended=ended, reason=reason, notes=tuple(notes))

    try:
        with locked(folder, stop, job.stop_file) as ours:
            if not ours:
                return outcome("busy")
            try:
                notes += repair(folder)
            except LoopscopeError as error:  # files of a newer version: nothing is written
                return outcome("failed", str(error))
            if folder.result() is not None:
                return outcome("done")
            try:
                from experiments.training.recorder import process_clock
                from experiments.training.train import proceed, started  # imports torch: seconds

                if stop():
                    return outcome("stopped")
                config = folder.config()
                folder.check_unedited(config)
                how = _device(job.device), job.allow_drift, notes.append, clock or process_clock
                with started(config, folder, *how) as recorder:
                    return outcome("done" if (yield from proceed(recorder, stop)) else "stopped")
            except Exception as error:
                reason = _reason(error, folder)
            folder.fail(reason)
            return outcome("failed", reason)
    except OSError as error:
        return blocked(job.folder, error)


def _reason(error: Exception, folder: RunFolder) -> str:
    """Why a run failed, which its log tells too; raises what its place is to blame for."""
    if isinstance(error, LoopscopeError):
        folder.log(f"failed: {error}")
        return str(error)
    if isinstance(error, OSError) and _is_of_its_place(error, folder.path):
        raise error
    reason = f"{type(error).__name__}: {error}"
    text = "".join(traceback.format_exception(error))
    folder.log(f"failed: {reason}\n{text}")
    return reason


def _is_of_its_place(error: OSError, folder: Path) -> bool:
    """Whether it is the place of a run that fails, not the run."""
    at = error.filename
    inside = isinstance(at, str) and Path(at).absolute().is_relative_to(folder.absolute())
    return inside and error.errno in BLOCKING


def blocked(folder: Path, error: OSError) -> JobOutcome:
    """The outcome of a run whose folder cannot be written; raises any other error."""
    if not _is_of_its_place(error, folder):
        raise error
    reason = f"{error.filename}: {error.strerror}"
    return JobOutcome(run_id=folder.name, ended="blocked", reason=reason)


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def redirected(path: Path) -> Iterator[None]:
    """Sends standard output and error, those of C code too, to the end of a file."""
    before = os.dup(1), os.dup(2)
    texts = [s for s in (sys.stdout, sys.stderr) if isinstance(s, io.TextIOWrapper)]
    encodings = [(stream.encoding, stream.errors) for stream in texts]
    try:
        with path.open("ab") as file:
            _write_output_to(file.fileno(), file.fileno())
        for stream in texts:  # the file is read as UTF-8, whatever the terminal
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        yield
    finally:
        _write_output_to(*before)
        for stream, (encoding, errors) in zip(texts, encodings, strict=True):
            stream.reconfigure(encoding=encoding, errors=errors)
        for descriptor in before:
            os.close(descriptor)


def _write_output_to(output: int, errors: int) -> None:
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os.dup2(output, 1)
    os.dup2(errors, 2)


def perform(job: Job, stop: StopFlag) -> Iterator[JobOutcome]:
    """Does a run and those beside it, in the order of ending; the output is in the first's log."""
    log = job.folder / "log.txt"
    if not job.beside:
        try:
            with redirected(log):
                outcome = run_to_end(work(job, stop))
        except OSError as error:
            outcome = blocked(job.folder, error)
        yield outcome
        return
    with redirected(log):
        from experiments.training.ensemble import Ensemble

        def one(path: Path, clock: Callable[[], tuple[float, float]]) -> Steps[JobOutcome]:
            own = job.model_copy(update={"folder": path, "beside": ()})
            return work(own, stop, clock)

        yield from Ensemble((job.folder, *job.beside), one).outcomes()


def main() -> None:
    """Works until the parent closes the line or wants the worker to stop."""
    stop = StopFlag()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop.set)
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever is printed between two runs is no answer
    try:
        for line in sys.stdin.buffer:
            job, failed = Job.model_validate_json(line), False
            for outcome in perform(job, stop):
                answers.write(outcome.model_dump_json() + "\n")
                answers.flush()
                failed |= outcome.ended == "failed"
            # after an error the state of a GPU is unknown: the parent starts a fresh worker
            if stop() or (failed and job.device != "cpu"):
                return
    except BrokenPipeError:  # the parent is gone, and with it whoever could be told
        os._exit(0)


if __name__ == "__main__":
    main()
