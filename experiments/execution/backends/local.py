"""The local back end: a pool of persistent worker processes on the cores and GPUs of this machine.

Workers are plain subprocesses in sessions of their own, so Ctrl-C reaches the parent only,
which then asks them to write checkpoints. No more runs are started at once than memory allows.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from experiments.execution.backends.backend import Ended, JobContext
from experiments.execution.backends.options import LocalOptions
from experiments.execution.job import Job, JobOutcome
from experiments.execution.stack_planner import Stacker
from experiments.execution.worker import LOCK_LOST
from experiments.machine import free_memory, worker_devices
from experiments.runs.folder import RunFolder
from experiments.text import bytes_text


@dataclass
class Slot:
    """A place for one worker, on one device."""

    device: str
    process: subprocess.Popen[bytes] | None = None
    folders: list[RunFolder] = field(default_factory=list)

    def send(self, job: Job) -> None:
        """Gives the slot's worker its runs."""
        assert self.process is not None and self.process.stdin is not None
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
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with log.open("ab") as errors:
        return subprocess.Popen(
            # -P: a folder called `experiments` where the command is typed must not shadow ours
            [sys.executable, "-P", "-m", "experiments.execution.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            start_new_session=True,
            env=os.environ
            | one_thread
            | {"PYTHONPATH": path, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
        )


class LocalBackend:
    """Slots for workers, and the memory that their runs may fill together."""

    def __init__(self, options: LocalOptions, context: JobContext) -> None:
        devices = worker_devices(options.workers, options.slots_per_gpu, options.device)
        self.context = context
        self.slots = [Slot(device) for device in devices]
        given = None if options.memory_gb is None else round(options.memory_gb * 1e9)
        self.free = {
            device: free_memory(device) if given is None else given for device in set(devices)
        }
        self._warned = False
        self.stacker = Stacker(options.stack, len(devices), context.notify)

    @property
    def running(self) -> list[RunFolder]:
        return [folder for slot in self.slots for folder in slot.folders]

    def take(self, queue: deque[RunFolder]) -> None:
        """Fills the free slots; a run that does not fit beside the others lets smaller ones by."""
        for slot in self.slots:
            if slot.folders:
                continue
            folder = next((f for f in queue if self._fits(f, slot.device)), None)
            if folder is None:
                continue
            slot.folders = [folder]
            for other in self.stacker.companions(folder, slot.device, queue):
                if self._fits(other, slot.device):
                    slot.folders.append(other)
            for taken in slot.folders:
                queue.remove(taken)
            if slot.process is None or slot.process.poll() is not None:
                slot.close()
                slot.process = _spawn(folder.path / "log.txt")
            slot.send(self.context.job(folder, slot.device, slot.folders[1:]))

    def _fits(self, folder: RunFolder, device: str) -> bool:
        """Whether memory is left for a run; a device with nothing on it takes any."""
        beside = [folder for s in self.slots if s.device == device for folder in s.folders]
        if not beside:
            return True
        needed = sum(map(self.context.memory, [*beside, folder]))
        if needed <= self.free[device]:
            return True
        if not self._warned:
            self._warned = True
            self.context.notify(
                f"{device}: {len(beside) + 1} runs at once need about {bytes_text(needed)}, there "
                f"are {bytes_text(self.free[device])}; some wait for others"
            )
        return False

    def ended(self, wait: float) -> list[Ended]:
        found: list[Ended] = []
        busy = [slot for slot in self.slots if slot.folders]
        if not busy:
            time.sleep(wait)
            return found
        with selectors.DefaultSelector() as selector:
            for slot in busy:
                assert slot.process is not None and slot.process.stdout is not None
                selector.register(slot.process.stdout, selectors.EVENT_READ, slot)
            ready = selector.select(wait)
        for key, _ in ready:
            slot: Slot = key.data
            assert slot.process is not None and slot.process.stdout is not None
            line = slot.process.stdout.readline()
            if line.endswith(b"\n"):
                outcome = JobOutcome.model_validate_json(line)
                folder = next(f for f in slot.folders if f.run_id == outcome.run_id)
                slot.folders.remove(folder)
                found.append((folder, outcome))
                continue
            status = slot.process.wait()
            if len(slot.folders) > 1:  # it may have been any one of them
                self.stacker.part(slot.folders)
            found += [(folder, _outcome_of_exit(folder, status)) for folder in slot.folders]
            slot.folders = []
        return found

    def stop(self) -> None:
        self._signal_busy(signal.SIGTERM)

    def close(self) -> None:
        self._signal_busy(signal.SIGKILL)
        for slot in self.slots:
            slot.close()
            slot.folders = []

    def _signal_busy(self, number: int) -> None:
        for slot in self.slots:
            if slot.folders:
                slot.signal(number)

    def describe(self, folders: Sequence[RunFolder]) -> str:
        used = Counter(slot.device for slot in self.slots[: len(folders)])
        places = ", ".join(f"{n} on {device}" for device, n in used.items()) or "none"
        free = ", ".join(f"{bytes_text(size)} on {name}" for name, size in self.free.items())
        lines = [f"{len(folders)} runs by processes of this machine: {places}; memory: {free}"]
        lines += [f"  {f.run_id}  {bytes_text(self.context.memory(f))}" for f in folders]
        return "\n".join(lines)


def _outcome_of_exit(folder: RunFolder, status: int) -> JobOutcome:
    """The outcome of a run whose worker ended with this status."""
    if status == LOCK_LOST:
        return JobOutcome(run_id=folder.run_id, ended="busy")
    return JobOutcome(run_id=folder.run_id, ended="died", reason=describe_exit(status))


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    if -status == signal.SIGKILL:
        return "killed, often for want of memory"
    return f"signal {signal.Signals(-status).name}"
