"""Work on one run folder, wherever it is done: a result is left alone, a checkpoint is resumed,
anything else starts anew.

`perform` does one job in this process; cluster back ends call it. As a program this is a worker
of the local back end: each line on its standard input is a job, each line on its standard
output what became of it. Whatever else is printed while a run is worked on goes to the log of
that run.

SIGTERM, the death of the parent, or the job's stop file makes the run write a checkpoint and
stop. SIGINT is the parent's business.
"""

import errno
import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import BaseModel, ConfigDict

from experiments.errors import LoopscopeError
from experiments.runs.folder import RunFolder
from experiments.runs.lock import Claim

#: seconds between two beats of the claim and looks for the parent and the stop file
BEAT = 2.0
#: exit status of a worker whose claim another process has taken (sysexits: temporary failure)
CLAIM_LOST = 75
#: errors of a place where nothing can be written for now
BLOCKING = {
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE", "EACCES")
}


class Job(BaseModel):
    """What a worker is asked to do.

    Attributes:
        device: `auto` takes a GPU where the worker sees one.
        stop_file: the run stops, with a checkpoint, once there is such a file.
        beside: folders of runs whose steps are taken together with this one's.
    """

    model_config = ConfigDict(frozen=True)

    folder: Path
    device: str = "cpu"
    allow_drift: bool = False
    stop_file: Path | None = None
    beside: tuple[Path, ...] = ()


class Outcome(BaseModel):
    """What became of a job.

    `busy`: not worked on, another process has the run or nobody began it. `died`: said by a back
    end of a worker that cannot speak any more; the reason is how it died. `blocked`: its folder
    cannot be written, for want of space or of permission, which is no fault of the run.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    ended: Literal["done", "stopped", "failed", "busy", "died", "blocked"]
    reason: str = ""
    notes: tuple[str, ...] = ()


class StopFlag:
    """Set by SIGTERM or when the parent is gone."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self, *_: Any) -> None:
        self._event.set()

    def __call__(self) -> bool:
        return self._event.is_set()


class Heart(threading.Thread):
    """Keeps the claim alive and watches the parent and the stop file during a run."""

    def __init__(self, claim: Claim, stop: StopFlag, stop_file: Path | None) -> None:
        super().__init__(daemon=True)
        self.claim, self.stop, self.stop_file = claim, stop, stop_file
        self.parent = os.getppid()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(BEAT):
            asked = self.stop_file is not None and self.stop_file.exists()
            if asked or os.getppid() != self.parent:
                self.stop.set()
            try:
                ours = self.claim.beat()
            except OSError:  # a disk in trouble, which the run will notice
                continue
            if not ours and not self.over.is_set():
                # asleep for too long: whoever has the run now must not be disturbed
                os._exit(CLAIM_LOST)


def work(job: Job, stop: StopFlag, **how: Any) -> Outcome:
    """Does one run as far as it goes. Never raises for what the run does wrong.

    Args:
        how: steps and time of a run that shares this process, see `train`.
    """
    folder = RunFolder(job.folder)
    claim = Claim.acquire(folder.claim_path)
    if claim is None:
        return Outcome(run_id=folder.run_id, ended="busy")
    if job.stop_file is not None and job.stop_file.exists():
        stop.set()
    heart = Heart(claim, stop, job.stop_file)
    heart.start()
    try:
        return _work(job, folder, stop, how)
    finally:
        heart.over.set()
        heart.join()
        with suppress(OSError):  # it is void as soon as its heart stands still
            claim.release()


def _work(job: Job, folder: RunFolder, stop: StopFlag, how: dict[str, Any]) -> Outcome:
    try:
        notes = folder.repair()
    except LoopscopeError as error:  # files of a newer version, into which nothing is written
        return Outcome(run_id=folder.run_id, ended="failed", reason=str(error))

    def outcome(ended: Literal["done", "stopped", "failed"], reason: str = "") -> Outcome:
        return Outcome(run_id=folder.run_id, ended=ended, reason=reason, notes=tuple(notes))

    if folder.result() is not None:
        return outcome("done")
    try:
        from experiments.training.train import train  # seconds of importing torch

        if stop():
            return outcome("stopped")
        config = folder.config()
        folder.check_unedited(config)
        how = how | {"device": _device(job.device), "stop": stop, "allow_drift": job.allow_drift}
        return outcome("done" if train(config, folder, tell=notes.append, **how) else "stopped")
    except LoopscopeError as error:
        reason = str(error)
        folder.log(f"failed: {reason}")
    except Exception as error:
        if isinstance(error, OSError) and _blocks(error, folder.path):
            raise
        reason = f"{type(error).__name__}: {error}"
        folder.log(f"failed: {reason}\n{traceback.format_exc()}")
    folder.fail(reason)
    return outcome("failed", reason)


def _blocks(error: OSError, folder: Path) -> bool:
    """Whether it is the place of a run that fails, not the run."""
    at = error.filename
    inside = isinstance(at, str) and Path(at).absolute().is_relative_to(folder.absolute())
    return inside and error.errno in BLOCKING


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def _redirected(path: Path) -> Iterator[None]:
    """Sends standard output and error, those of C code too, to the end of a file."""
    before = os.dup(1), os.dup(2)
    try:
        with path.open("ab") as file:
            _send_output(file.fileno(), file.fileno())
        yield
    finally:
        _send_output(*before)
        for descriptor in before:
            os.close(descriptor)


def _send_output(output: int, errors: int) -> None:
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os.dup2(output, 1)
    os.dup2(errors, 2)


def perform(job: Job, stop: StopFlag) -> Outcome:
    """Does one run as far as it goes, with its output in its log."""
    try:
        with _redirected(job.folder / "log.txt"):
            return work(job, stop)
    except OSError as error:
        return _blocked(job, error)


def perform_all(job: Job, stop: StopFlag) -> Iterator[Outcome]:
    """Does a run and those beside it, in the order of ending; the output is in the first's log."""
    if not job.beside:
        yield perform(job, stop)
        return
    from experiments.training.ensemble import in_turns

    def one(path: Path, how: dict[str, Any]) -> Outcome:
        own = job.model_copy(update={"folder": path, "beside": ()})
        try:
            return work(own, stop, **how)
        except OSError as error:
            return _blocked(own, error)

    with _redirected(job.folder / "log.txt"):
        yield from in_turns((job.folder, *job.beside), one)


def _blocked(job: Job, error: OSError) -> Outcome:
    """Raises the error where it is not the place of the run that fails."""
    if not _blocks(error, job.folder):
        raise error
    reason = f"{error.filename}: {error.strerror}"
    return Outcome(run_id=job.folder.name, ended="blocked", reason=reason)


def serve(jobs: IO[str], answers: IO[str], stop: StopFlag) -> None:
    """Works until the parent closes the line or wants the worker to stop."""
    for line in jobs:
        job = Job.model_validate_json(line)
        failed = False
        for outcome in perform_all(job, stop):
            answers.write(outcome.model_dump_json() + "\n")
            answers.flush()
            failed |= outcome.ended == "failed"
        # after an error the state of a GPU is unknown: the parent starts a fresh worker
        if stop() or (failed and job.device != "cpu"):
            return


def main() -> None:
    """Entry of `python -m experiments.execution.worker`."""
    stop = StopFlag()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop.set)
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is printed between two runs is no answer
    try:
        serve(sys.stdin, answers, stop)
    except BrokenPipeError:  # the parent is gone, and with it whoever could be told
        os._exit(0)


if __name__ == "__main__":
    main()
