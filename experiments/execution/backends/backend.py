"""The contract of back ends: they work on run folders, and the executor decides what is retried."""

import importlib.util
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from experiments.errors import LoopscopeError
from experiments.execution.job import Job, JobOutcome
from experiments.execution.stack_planner import Stacker
from experiments.runs.folder import RunFolder

#: what became of a run that a back end took
Ended = tuple[RunFolder, JobOutcome]


class Backend(Protocol):
    """A place where runs are worked on.

    Every run that is taken comes out of `ended` exactly once, whatever happens to its worker.
    """

    @property
    def running(self) -> list[RunFolder]:
        """The runs that were taken and have not ended; some may still wait for a machine."""
        ...

    def take(self, queue: deque[RunFolder]) -> None:
        """Removes from the queue as many runs as there is room for, and starts them."""
        ...

    def ended(self, wait: float) -> list[Ended]:
        """Runs that ended, waiting up to `wait` seconds for one."""
        ...

    def stop(self) -> None:
        """Asks all running runs to write checkpoints and stop."""
        ...

    def close(self) -> None:
        """Ends what still runs, at once, and gives back everything."""
        ...

    def describe(self, folders: Sequence[RunFolder]) -> str:
        """A text of what would be started for these runs, for `--dry-run`; nothing is written."""
        ...


@dataclass(frozen=True)
class JobContext:
    """The circumstances of the work, the same for every back end.

    Args:
        out: folder of the runs, seen under the same path by every worker.
        memory: bytes that a run needs.
        notify: given a sentence that a person should know of.
    """

    out: Path
    allow_drift: bool = False
    memory: Callable[[RunFolder], int] = lambda folder: 0
    notify: Callable[[str], None] = lambda message: None

    #: asks the workers of this command, and no others, to stop
    stop_file: Path = field(init=False)

    def __post_init__(self) -> None:
        name = f".stop-{uuid.uuid4().hex[:12]}"
        object.__setattr__(self, "stop_file", self.out.absolute() / name)

    def job(self, folder: RunFolder, device: str, beside: Sequence[RunFolder] = ()) -> Job:
        return Job(
            folder=folder.path.absolute(),
            device=device,
            allow_drift=self.allow_drift,
            stop_file=self.stop_file,
            beside=tuple(other.path.absolute() for other in beside),
        )


@dataclass
class JobBundle:
    """Runs that a worker is sent at once, to be done one after the other or trained together."""

    folders: list[RunFolder]
    together: bool = False

    def jobs(self, context: JobContext, device: str) -> list[str]:
        """Its jobs as text."""
        if self.together:
            first, *beside = self.folders
            return [context.job(first, device, beside).model_dump_json()]
        return [context.job(folder, device).model_dump_json() for folder in self.folders]

    def died(self, left: list[RunFolder], reason: str, stacker: Stacker) -> list[Ended]:
        """Outcomes of runs whose worker died: of runs trained together each may be to blame.

        These are alone the next time.

        Args:
            left: runs that have no outcome, in their order; the first is the one worked on.
        """
        at = left if self.together else left[:1]
        if len(at) > 1:
            stacker.part(at)
        dead = [(f, JobOutcome(run_id=f.run_id, ended="died", reason=reason)) for f in at]
        return dead + [(f, JobOutcome(run_id=f.run_id, ended="busy")) for f in left[len(at) :]]


def bundles(
    queue: deque[RunFolder], size: int, stacker: Stacker, gpu: bool, most: int | None = None
) -> list[JobBundle]:
    """Takes runs from the queue: those that may be stacked together, the others as `packs`."""
    found: list[JobBundle] = []
    for folder in tuple(queue):
        if len(found) == most:
            break
        if folder not in queue:
            continue
        beside = stacker.companions(folder, "cuda" if gpu else "cpu", queue)
        if beside:
            found.append(JobBundle([folder, *beside], together=True))
            for taken in found[-1].folders:
                queue.remove(taken)
    room = None if most is None else most - len(found)
    return found + [JobBundle(pack) for pack in packs(queue, size, room)]


def require(library: str, wanted: str, extra: str) -> None:
    """Raises LoopscopeError, with what to install, unless a library is there."""
    if importlib.util.find_spec(library) is None:
        raise LoopscopeError(
            f"{wanted} needs {library}, which is not installed; "
            f"pip install --constraint constraints.txt 'loopscope[{extra}]'"
        )


def packs(queue: deque[RunFolder], size: int, most: int | None = None) -> list[list[RunFolder]]:
    """Takes runs from the queue in packs of up to `size`, at most so many packs.

    A few long runs are not put into one pack while there would be room for more packs.
    """
    if most is not None:
        size = max(1, min(size, -(-len(queue) // max(most, 1))))
    found: list[list[RunFolder]] = []
    while queue and (most is None or len(found) < most):
        found.append([queue.popleft() for _ in range(min(size, len(queue)))])
    return found
