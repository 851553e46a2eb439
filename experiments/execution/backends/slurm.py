"""The Slurm back end: array jobs sent by submitit, a run, a pack of tiny runs or a stack in each.

A job that is preempted or reaches its time limit writes a checkpoint and is requeued by
submitit, with nobody watching. One that is killed outright is missed in Slurm's queue here and
sent again by the executor; that asks nothing of Slurm's accounting, which many clusters lack.
submitit keeps what it sends as pickles in OUT/slurm, which only its own jobs and this
command read; they are removed when a job has ended well.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import submitit
from submitit.core.utils import FailedSubmissionError
from submitit.helpers import DelayedSubmission
from submitit.local import local
from submitit.slurm import slurm

from experiments.errors import LoopscopeError
from experiments.execution.backends.backend import Ended, JobBundle, JobContext, bundles, packs
from experiments.execution.backends.options import SlurmOptions
from experiments.execution.job import Job, JobOutcome
from experiments.execution.stack_planner import Stacker
from experiments.execution.worker import StopFlag, perform
from experiments.runs.folder import RunFolder

#: times a job may reach its time limit and be requeued
TIMEOUTS = 1000
#: seconds between two checks of the files of sent jobs, by cluster
EVERY = {"slurm": 2.0, "local": 0.2}
#: seconds between two queries of Slurm's queue for jobs that left no file, such as killed ones
ASK = 30.0
#: how a job starts Python: a folder called `experiments` where the job runs must not shadow ours
LAB = str(Path(__file__).parents[3])
PYTHON = f"{shlex.quote(sys.executable)} -P"
#: what Slurm and submitit replace in the names of files: %a, %4j, %%
REPLACED = re.compile(r"%\d*[%AabJjNnstux]")


class WorkThrough:
    """The function of a job; `checkpoint` gives submitit what to send when it is requeued."""

    def __init__(self, jobs: list[str]) -> None:
        self.jobs = jobs

    def __call__(self) -> list[str]:
        """The outcomes, as text. Warned by Slurm, it stops with a checkpoint and is requeued."""
        number = getattr(signal, "SIG" + os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2"))
        stop, outcomes = StopFlag(), list[JobOutcome]()
        warned = StopFlag()

        def warn(*_: Any) -> None:
            warned.set()
            stop.set()

        requeue = signal.signal(number, warn)
        for text in self.jobs:
            outcomes += perform(Job.model_validate_json(text), stop)
        if warned() and callable(requeue) and any(o.ended == "stopped" for o in outcomes):
            requeue(number, None)  # does not return: submitit ends the process
        return [outcome.model_dump_json() for outcome in outcomes]

    def checkpoint(self) -> DelayedSubmission:
        """All of it again: what is done by then takes no time."""
        return DelayedSubmission(self)


class LocalExecutor(submitit.LocalExecutor):
    """Jobs as sessions of this machine: Ctrl-C in a terminal reaches whoever is in its session."""

    def _submit_command(self, command: str) -> submitit.LocalJob[Any]:
        apart = partial(subprocess.Popen, start_new_session=True)
        found = os.pathsep.join(filter(None, [LAB, os.environ.get("PYTHONPATH")]))
        with (
            patch.object(local.subprocess, "Popen", apart),
            patch.dict(os.environ, {"PYTHONPATH": found}),
        ):
            return super()._submit_command(command)


@dataclass
class Sent:
    """A job and its runs."""

    job: submitit.Job[list[str]]
    bundle: JobBundle

    @property
    def folders(self) -> list[RunFolder]:
        return self.bundle.folders

    @property
    def has_result(self) -> bool:
        return self.job.paths.result_pickle.exists()

    def cancel(self) -> None:
        """Ends the job at once, or takes it from Slurm's queue."""
        if not isinstance(self.job, submitit.LocalJob):
            self.job.cancel(check=False)
            return
        with suppress(ProcessLookupError):
            os.killpg(int(self.job.job_id), signal.SIGKILL)
        while not self.job.done():
            time.sleep(0.01)


class SlurmBackend:
    """Sends everything it is given at once; Slurm keeps the queue."""

    def __init__(self, options: SlurmOptions, context: JobContext) -> None:
        self.options, self.context = options, context
        self.home = context.out.absolute() / "slurm"
        if tag := REPLACED.search(str(self.home)):
            raise LoopscopeError(
                f"{context.out.absolute()}: Slurm puts numbers of jobs in place of {tag[0]} in the "
                "names of files; choose an --out without it"
            )
        self.sent: list[Sent] = []
        self.stacker = Stacker(options.stack, options.workers or 1, context.notify)
        self._asked = time.monotonic()
        #: jobs that the last query of Slurm's queue did not find
        self._missed: set[str] = set()

    @property
    def running(self) -> list[RunFolder]:
        return [folder for sent in self.sent for folder in sent.folders]

    def take(self, queue: deque[RunFolder]) -> None:
        """Sends one array job.

        Raises:
            LoopscopeError: there is no Slurm here, or it refuses the job.
        """
        executor, options = self._executor(), self.options
        gpu = options.gpus > 0 and options.device != "cpu"
        found = bundles(queue, options.pack, self.stacker, gpu)
        functions = [WorkThrough(bundle.jobs(self.context, options.device)) for bundle in found]
        try:
            with executor.batch():
                jobs = [executor.submit(function) for function in functions]
        except FailedSubmissionError as error:
            raise LoopscopeError(f"Slurm refused the job: {error}") from error
        self.sent += [Sent(job, bundle) for job, bundle in zip(jobs, found, strict=True)]

    def _executor(self) -> submitit.Executor:
        if self.options.cluster == "local":
            here = LocalExecutor(self.home, max_num_timeout=TIMEOUTS, python=PYTHON)
            here.update_parameters(
                timeout_min=self.options.minutes,
                signal_delay_s=self.options.signal_seconds,
                gpus_per_node=self.options.gpus,
                setup=self.options.setup,
                stderr_to_stdout=True,
            )
            return here
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise LoopscopeError(
                "there is no Slurm here (no sbatch, no srun): run this where jobs are sent from, "
                "look at the job with --dry-run, or try it out with --option cluster=local"
            )
        executor = submitit.SlurmExecutor(self.home, max_num_timeout=TIMEOUTS, python=PYTHON)
        executor.update_parameters(**self._parameters())
        return executor

    def _parameters(self) -> dict[str, Any]:
        """The parameters that submitit writes into the sbatch file."""
        options = self.options
        wanted = {
            "job_name": "loopscope",
            "time": options.minutes,
            "signal_delay_s": options.signal_seconds,
            "partition": options.partition,
            "account": options.account,
            "qos": options.qos,
            "constraint": options.constraint,
            "cpus_per_task": options.cpus,
            "gpus_per_node": options.gpus or None,
            "mem": None if options.memory_gb is None else f"{round(options.memory_gb * 1000)}M",
            "array_parallelism": options.workers,
            "setup": [*options.setup, f"export PYTHONPATH={shlex.quote(LAB)}:$PYTHONPATH"],
            "stderr_to_stdout": True,
            "additional_parameters": {"requeue": True, **options.sbatch},
        }
        return {name: value for name, value in wanted.items() if value is not None} | {
            "wckey": None
        }

    def ended(self, wait: float) -> list[Ended]:
        time.sleep(max(wait, EVERY[self.options.cluster]) if self.sent else wait)
        here = self.options.cluster == "local"
        over = [s for s in self.sent if (s.job.done() if here else s.has_result)]
        killed = [] if here else [s for s in self._vanished() if s not in over]
        self.sent = [s for s in self.sent if s not in over and s not in killed]
        found = [ended for sent in over for ended in self._read(sent)]
        gone = RuntimeError("the job left Slurm's queue without a result")
        return found + [ended for sent in killed for ended in self._killed(sent, gone)]

    def _vanished(self) -> list[Sent]:
        """Jobs without a result that two queries of Slurm's queue, some time apart, missed."""
        if not self.sent or time.monotonic() - self._asked < ASK:
            return []
        self._asked = time.monotonic()
        listed = queued_jobs()
        if listed is None:
            return []
        before, self._missed = self._missed, {s.job.job_id for s in self.sent} - listed
        twice = before & self._missed
        return [s for s in self.sent if s.job.job_id in twice and not s.has_result]

    def _read(self, sent: Sent) -> list[Ended]:
        """The outcomes of a job; if it was killed, its files say how far it came."""
        try:
            outcomes = [JobOutcome.model_validate_json(text) for text in sent.job.result()]
        except Exception as error:  # submitit's errors, and whatever a job raised
            return self._killed(sent, error)
        for path in _files(sent.job):
            path.unlink(missing_ok=True)
        by_id = {folder.run_id: folder for folder in sent.folders}
        return [(by_id[outcome.run_id], outcome) for outcome in outcomes]

    def _killed(self, sent: Sent, error: Exception) -> list[Ended]:
        """The runs without an end are those at which the job died, or that it had not begun."""
        lines = str(error).strip().splitlines()
        how = f"{lines[0] if lines else type(error).__name__}; see {sent.job.paths.stdout}"
        unfinished = [f for f in sent.folders if f.state() not in ("done", "failed")]
        ended = [f for f in sent.folders if f not in unfinished]
        found = sent.bundle.died(unfinished, how, self.stacker)
        return found + [(f, JobOutcome(run_id=f.run_id, ended="busy")) for f in ended]

    def stop(self) -> None:
        """Running jobs see the file; those that wait in Slurm's queue are cancelled by `close`."""
        if not self.sent:
            return
        self.context.stop_file.touch()
        waiting = [
            sent for sent in self.sent if not any(f.lock_path.exists() for f in sent.folders)
        ]
        for sent in waiting:
            sent.cancel()
        self.sent = [sent for sent in self.sent if sent not in waiting]

    def close(self) -> None:
        for sent in self.sent:
            sent.cancel()
        self.sent = []
        self.context.stop_file.unlink(missing_ok=True)

    def describe(self, folders: Sequence[RunFolder]) -> str:
        found = packs(deque(folders), self.options.pack)
        count = len(found) if len(found) > 1 else None
        parameters = self._parameters() | {"map_count": count}
        command = f"{PYTHON} -u -m submitit.core._submit {shlex.quote(str(self.home))}"
        text = slurm._make_sbatch_string(command, self.home, **parameters)
        runs = [f"# {i}: {' '.join(f.run_id for f in pack)}" for i, pack in enumerate(found)]
        if self.options.stack != 1:
            runs.append(f"# fewer where runs of one shape share a job, up to {self.options.stack}")
        return "\n".join([text, *runs])


def queued_jobs() -> set[str] | None:
    """Ids of this user's jobs that wait or run; None where Slurm does not answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ASK)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return set(asked.stdout.split()) if asked.returncode == 0 else None


def _files(job: submitit.Job[Any]) -> list[Path]:
    """The files of a job that ended well; the sbatch file of an array is shared."""
    paths = job.paths
    return [paths.submitted_pickle, paths.result_pickle]
