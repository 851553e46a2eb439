"""The content of status.json: how far a run is while it is worked on."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict


def _utf8(text: str) -> str:
    """With half a surrogate pair, as names of files that are no text have it, spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


class Status(BaseModel):
    """The heartbeat of a run.

    Attributes:
        step, last_step: optimiser steps done and wanted.
        loss: loss of the last step that was checked, nats per predicted token.
        checkpoint_step: step of the last verified checkpoint.
        reason: why the run failed.
        time: when this was written, seconds since 1970.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: Literal["running", "stopped", "failed", "done"]
    doing: Literal["training", "measuring"] = "training"
    step: int = 0
    last_step: int = 0
    loss: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    checkpoint_step: int = 0
    device: str = "cpu"
    pid: int = 0
    reason: Annotated[str, AfterValidator(_utf8)] = ""
    time: float = 0.0
