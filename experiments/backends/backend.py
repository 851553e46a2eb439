"""What a back end is: it works on run folders; what is tried again is the executor's business."""

import importlib.util
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from experiments.backends.options import BackendOptions, LocalOptions, RayOptions
from experiments.errors import LoopscopeError
from experiments.store import RunFolder
from experiments.worker import Job, Outcome

#: what became of a run that a back end took
Ended = tuple[RunFolder, Outcome]


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
        """What would be started for these runs, for `--dry-run`; writes nothing."""
        ...


@dataclass(frozen=True)
class Orders:
    """What every back end is told about the work.

    Args:
        out: folder of the runs, seen under the same path by every worker.
        memory: bytes that a run needs.
        tell: given a sentence that a person should know of.
    """

    out: Path
    allow_drift: bool = False
    memory: Callable[[RunFolder], int] = lambda folder: 0
    tell: Callable[[str], None] = lambda message: None

    #: asks the workers of this command, and no others, to stop
    stop_file: Path = field(init=False)

    def __post_init__(self) -> None:
        name = f".stop-{uuid.uuid4().hex[:12]}"
        object.__setattr__(self, "stop_file", self.out.absolute() / name)

    def job(self, folder: RunFolder, device: str) -> Job:
        return Job(
            folder=folder.path.absolute(),
            device=device,
            allow_drift=self.allow_drift,
            stop_file=self.stop_file,
        )


def make_backend(options: BackendOptions, orders: Orders) -> Backend:
    """The back end that `options` describe.

    Raises:
        LoopscopeError: its library is not installed, or it cannot be used here.
    """
    if isinstance(options, LocalOptions):
        from experiments.backends.local import LocalBackend

        return LocalBackend(options, orders)
    if isinstance(options, RayOptions):
        require("ray", "--backend ray", "ray")
        from experiments.backends.ray import RayBackend

        return RayBackend(options, orders)
    require("submitit", "--backend slurm", "slurm")
    from experiments.backends.slurm import SlurmBackend

    return SlurmBackend(options, orders)


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
