"""Work on one run folder, wherever it is done: a result is left alone, a checkpoint is resumed,
anything else starts anew.

`perform` does one job in this process; cluster back ends call it. As a program this is a worker
of the local back end: each line on its standard input is a job, each line on its standard
output what became of it. Whatever else is printed while a run is worked on goes to the log of
that run.

SIGTERM, the death of the parent, or the job's stop file makes the run write a checkpoint and
stop. SIGINT is the parent's business.
"""

import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import BaseModel, ConfigDict

from experiments.claim import Claim
from experiments.errors import LoopscopeError
from experiments.store import RunFolder

#: seconds between two beats of the claim and looks for the parent and the stop file
BEAT = 2.0
#: exit status of a worker whose claim another process has taken (sysexits: temporary failure)
CLAIM_LOST = 75


class Job(BaseModel):
    """What a worker is asked to do.

    Attributes:
        device: `auto` takes a GPU where the worker sees one.
        stop_file: the run stops, with a checkpoint, once there is such a file.
    """

    model_config = ConfigDict(frozen=True)

    folder: Path
    device: str = "cpu"
    allow_drift: bool = False
    stop_file: Path | None = None


class Outcome(BaseModel):
    """What became of a job.

    `busy`: not worked on, another process has the run or nobody began it. `died`: said by a back
    end of a worker that cannot speak any more; the reason is how it died.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    ended: Literal["done", "stopped", "failed", "busy", "died"]
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
            if not self.claim.beat() and not self.over.is_set():
                # asleep for too long: whoever has the run now must not be disturbed
                os._exit(CLAIM_LOST)


def work(job: Job, stop: StopFlag) -> Outcome:
    """Does one run as far as it goes. Never raises for what the run does wrong."""
    folder = RunFolder(job.folder)
    claim = Claim.acquire(folder.claim_path)
    if claim is None:
        return Outcome(run_id=folder.run_id, ended="busy")
    if job.stop_file is not None and job.stop_file.exists():
        stop.set()
    heart = Heart(claim, stop, job.stop_file)
    heart.start()
    try:
        return _work(job, folder, stop)
    finally:
        heart.over.set()
        heart.join()
        claim.release()


def _work(job: Job, folder: RunFolder, stop: StopFlag) -> Outcome:
    notes = tuple(folder.repair())
    if folder.result() is not None:
        return Outcome(run_id=folder.run_id, ended="done", notes=notes)
    try:
        from experiments.train import train  # seconds of importing torch

        if stop():
            return Outcome(run_id=folder.run_id, ended="stopped", notes=notes)
        config = folder.config()
        folder.check_unedited(config)
        device = _device(job.device)
        done = train(config, folder, device=device, stop=stop, allow_drift=job.allow_drift)
    except LoopscopeError as error:
        reason = str(error)
        folder.log(f"failed: {reason}")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        folder.log(f"failed: {reason}\n{traceback.format_exc()}")
    else:
        return Outcome(run_id=folder.run_id, ended="done" if done else "stopped", notes=notes)
    folder.fail(reason)
    return Outcome(run_id=folder.run_id, ended="failed", reason=reason, notes=notes)


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
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(output, 1)
    os.dup2(errors, 2)


def perform(job: Job, stop: StopFlag) -> Outcome:
    """Does one run as far as it goes, with its output in its log."""
    with _redirected(job.folder / "log.txt"):
        return work(job, stop)


def serve(jobs: IO[str], answers: IO[str], stop: StopFlag) -> None:
    """Works until the parent closes the line or wants the worker to stop."""
    for line in jobs:
        job = Job.model_validate_json(line)
        outcome = perform(job, stop)
        answers.write(outcome.model_dump_json() + "\n")
        answers.flush()
        # after an error the state of a GPU is unknown: the parent starts a fresh worker
        if stop() or (outcome.ended == "failed" and job.device != "cpu"):
            return


def main() -> None:
    """Entry of `python -m experiments.worker`."""
    stop = StopFlag()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop.set)
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w")
    serve(sys.stdin, answers, stop)


if __name__ == "__main__":
    main()
