"""A job for a worker, and its answer."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

Ending = Literal["done", "stopped", "failed", "busy", "died", "blocked"]


class Job(BaseModel):
    """One run, or several that are trained together.

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


class JobOutcome(BaseModel):
    """The outcome of a run.

    `busy`: not worked on, another process has the run or nobody began it. `died`: said by a back
    end of a worker that cannot speak any more; the reason is how it died. `blocked`: its folder
    cannot be written, for want of space or of permission, which is no fault of the run.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    ended: Ending
    reason: str = ""
    notes: tuple[str, ...] = ()
