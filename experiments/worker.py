"""A worker process: takes run folders from its parent, one after the other.

Each line on its standard input is a job, each line on its standard output what became of it.
Whatever else is printed while a run is worked on goes to the log of that run. A worker is
idempotent: a result is left alone, a checkpoint is resumed, anything else starts anew.

SIGTERM, or the death of the parent, makes the run write a checkpoint and stop. SIGINT is the
parent's business.
"""

import faulthandler
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import BaseModel, ConfigDict

from experiments.claim import Claim
from experiments.errors import LoopscopeError
from experiments.store import RunFolder

#: seconds between two beats of the claim and looks for the parent
BEAT = 2.0
#: exit status of a worker whose claim another process has taken (sysexits: temporary failure)
CLAIM_LOST = 75


class Job(BaseModel):
    """One line to a worker."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    device: str = "cpu"
    allow_drift: bool = False


class Outcome(BaseModel):
    """One line from a worker. `busy`: another process works on the run."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    ended: Literal["done", "stopped", "failed", "busy"]
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
    """Keeps the claim alive and watches the parent while a run is worked on."""

    def __init__(self, claim: Claim, stop: StopFlag) -> None:
        super().__init__(daemon=True)
        self.claim, self.stop = claim, stop
        self.parent = os.getppid()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(BEAT):
            if os.getppid() != self.parent:
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
    heart = Heart(claim, stop)
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
        done = train(config, folder, device=job.device, stop=stop, allow_drift=job.allow_drift)
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


def _redirect(path: Path) -> None:
    """Sends standard output and error, those of C code too, to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def serve(jobs: IO[str], answers: IO[str], stop: StopFlag) -> None:
    """Works until the parent closes the line or wants the worker to stop."""
    for line in jobs:
        job = Job.model_validate_json(line)
        _redirect(job.folder / "log.txt")
        outcome = work(job, stop)
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
