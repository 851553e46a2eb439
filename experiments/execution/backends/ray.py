"""The Ray back end: one core task for a run, a pack of tiny ones or a stack.

Ray places tasks and says when a worker or a node died; it never tries one again itself
(`max_retries=0`), since the executor does that for every back end alike. A task yields what
became of its runs one by one, so a pack that dies loses no more than the run it was at.
"""

import os
import shutil
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayError, WorkerCrashedError

from experiments.errors import LoopscopeError
from experiments.execution.backends.backend import Ended, JobBundle, JobContext, bundles, packs
from experiments.execution.backends.options import RayOptions
from experiments.execution.job import Job, JobOutcome
from experiments.execution.stack_planner import Stacker
from experiments.execution.worker import StopFlag, perform
from experiments.machine import available_cores, available_gpus
from experiments.runs.folder import RunFolder

#: bytes of the object store of a local cluster: nothing but short texts goes through it
OBJECT_STORE = 80 * 2**20
#: where the sockets of a local cluster go: their paths may have 107 bytes
SHORT = Path("/tmp")


def work_through(jobs: list[str]) -> Iterator[str]:
    """In a Ray worker: the outcome of each run, as text, once it has ended."""
    for text in jobs:
        for outcome in perform(Job.model_validate_json(text), StopFlag()):
            yield outcome.model_dump_json()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keeps the handlers of the executor, in whose place Ray sets its own."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in zip(numbers, handlers, strict=True):
                signal.signal(number, handler)


@dataclass
class Task:
    """A bundle of runs on its way; those `left` have not ended."""

    outcomes: Any
    bundle: JobBundle
    left: list[RunFolder]


class RayBackend:
    """Connects to the cluster with the first run that it takes."""

    def __init__(self, options: RayOptions, context: JobContext) -> None:
        self.options, self.context = options, context
        self.tasks: list[Task] = []
        self.stacker = Stacker(options.stack, 1, context.notify)
        self.started: Path | None = None
        self._connected = False
        self._remote: Any = None

    @property
    def running(self) -> list[RunFolder]:
        return [folder for task in self.tasks for folder in task.left]

    def take(self, queue: deque[RunFolder]) -> None:
        self._connect()
        options, room = self.options, self._most() - len(self.tasks)
        self.stacker.slots = options.workers or max(1, self._room())
        gpu = options.gpus > 0 and options.device != "cpu"
        for bundle in bundles(queue, options.pack, self.stacker, gpu, room) if room > 0 else ():
            outcomes = self._remote.remote(bundle.jobs(self.context, options.device))
            self.tasks.append(Task(outcomes, bundle, list(bundle.folders)))

    def _most(self) -> int:
        """Tasks at once: what Ray is given beyond its room waits there, and Ray places it."""
        return self.options.workers or max(4, 2 * self._room())

    def _room(self) -> int:
        """Tasks that the cluster as it is now could work on together."""
        total = ray.cluster_resources()
        places = total.get("CPU", 0) / self.options.cpus
        if self.options.gpus:
            places = min(places, total.get("GPU", 0) / self.options.gpus)
        return int(places)

    def ended(self, wait: float) -> list[Ended]:
        if not self.tasks:
            time.sleep(wait)
            return []
        waiting = {task.outcomes: task for task in self.tasks}
        ready, _ = ray.wait(
            list(waiting), num_returns=len(waiting), timeout=wait, fetch_local=False
        )
        found = [ended for outcomes in ready for ended in self._read(waiting[outcomes])]
        self.tasks = [task for task in self.tasks if task.left]
        return found

    def _read(self, task: Task) -> list[Ended]:
        """The next outcome of a task, or what becomes of its runs if it died."""
        try:
            outcome = JobOutcome.model_validate_json(ray.get(next(task.outcomes)))
        except StopIteration:
            how = "its task ended early"
        except RayError as error:
            how = _describe(error)
        else:
            folder = next(f for f in task.left if f.run_id == outcome.run_id)
            task.left.remove(folder)
            return [(folder, outcome)]
        left, task.left = task.left, []
        return task.bundle.died(left, how, self.stacker)

    def stop(self) -> None:
        if self.running:
            self.context.stop_file.touch()

    def close(self) -> None:
        for task in self.tasks:
            ray.cancel(task.outcomes, force=True)
        self.tasks = []
        self.context.stop_file.unlink(missing_ok=True)
        if not self._connected:
            return
        ray.shutdown()
        self._connected = False
        if self.started is not None:
            shutil.rmtree(self.started, ignore_errors=True)

    def _connect(self) -> None:
        """Raises LoopscopeError: there is no such cluster, or it lacks what a task needs."""
        if self._connected:
            return
        try:
            self._connected = not ray.is_initialized()  # what others opened is not ours to close
            if self._connected:
                with _own_signals():
                    ray.init(**self._cluster())
        except Exception as error:  # Ray raises many kinds, some of them bare
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise LoopscopeError(
                f"no Ray cluster at {self.options.address or 'this machine'}: {reason}"
            ) from error
        if not self._room():
            has = {k: v for k, v in ray.cluster_resources().items() if k in ("CPU", "GPU")}
            self.context.notify(
                f"a task needs {self.options.cpus:g} CPUs and {self.options.gpus:g} GPUs, the Ray "
                f"cluster has {has}: runs wait until it grows; --option cpus=… or gpus=… asks "
                "for less"
            )
        self._remote = ray.remote(work_through).options(**self._task())

    def _cluster(self) -> dict[str, Any]:
        """Arguments of `ray.init`."""
        address = self.options.address or os.environ.get("RAY_ADDRESS") or "local"
        common: dict[str, Any] = {
            "address": address,
            "namespace": self.options.namespace,
            "log_to_driver": False,
            "logging_level": "error",
        }
        if address != "local":
            return common
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
        if self.options.temp_dir is None:
            self.started = Path(tempfile.mkdtemp(prefix="ls-", dir=SHORT))
        return common | {
            "num_cpus": self.options.workers or available_cores(),
            "num_gpus": available_gpus(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE,
            "_temp_dir": str(self.options.temp_dir or self.started),
        }

    def _task(self) -> dict[str, Any]:
        """Options of the task."""
        memory = self.options.memory_gb
        root = str(Path(__file__).parents[3])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        variables = {"PYTHONPATH": path, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        return {
            "num_cpus": self.options.cpus,
            "num_gpus": self.options.gpus,
            "memory": None if memory is None else round(memory * 1e9),
            "max_retries": 0,
            "num_returns": "streaming",
            "runtime_env": {"env_vars": variables},
        }

    def describe(self, folders: Sequence[RunFolder]) -> str:
        options = self.options
        found = packs(deque(folders), options.pack)
        place = options.address or "a cluster of this machine (or RAY_ADDRESS)"
        lines = [
            f"{len(folders)} runs in {len(found)} Ray tasks of {options.cpus:g} CPUs and "
            f"{options.gpus:g} GPUs, on {place}, namespace {options.namespace}"
        ]
        if options.stack != 1:
            lines.append(f"fewer where runs of one shape share a task, up to {options.stack}")
        return "\n".join(lines + ["  " + " ".join(f.run_id for f in pack) for pack in found])


def _describe(error: RayError) -> str:
    """The cause of a death as far as Ray knows it."""
    known = {
        OutOfMemoryError: "killed by Ray for want of memory",
        NodeDiedError: "its node died",
        WorkerCrashedError: "killed, often for want of memory",
    }
    for kind, text in known.items():
        if isinstance(error, kind):
            return text
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no reason given'}"
