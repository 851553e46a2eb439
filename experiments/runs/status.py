"""What a run says of itself: status.json while it is worked on, result.json at the end."""

import sys
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

#: kinds of what results say, as they become columns
RESULT = {
    **dict.fromkeys(("task", "label", "objective", "counted"), "text"),
    **dict.fromkeys(("k", "n_loops", "layers", "width", "steps"), "whole"),
    **dict.fromkeys(("train_flops", "exposures"), "number"),
}
MEASUREMENT = {
    **dict.fromkeys(("metric", "component", "split", "item"), "text"),
    **dict.fromkeys(("difficulty", "loop", "n_items"), "whole"),
    **dict.fromkeys(("value", "floor", "ceiling", "low", "high"), "number"),
}
SHAPE = ("prelude", "core", "coda", "loops", "width")
LOGGED = ("mean_exit", "exit_entropy")


class Status(BaseModel):
    """The heartbeat of a run.

    Attributes:
        step, last_step: optimiser steps done and wanted.
        loss: of the last step looked at, nats per predicted token.
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
    reason: str = ""
    time: float = 0.0


def is_whole(result: dict[str, Any]) -> bool:
    """Whether the content of a result.json has its measurements, and what columns are made of."""
    parts = (result.get(part, {}) for part in ("parameters", "timings", "components"))
    if not all(isinstance(part, dict) for part in parts):
        return False
    numbers = {**result.get("parameters", {}), **result.get("timings", {})}
    components = result.get("components", {}).values()
    return (
        all(_fits(value, "number") for value in numbers.values())
        and all(isinstance(c, dict) and _fits(c.get("exposures"), "number") for c in components)
        and all(_fits(result.get(name), kind) for name, kind in RESULT.items())
        and are_measurements(result.get("measurements"))
    )


def is_config(config: dict[str, Any]) -> bool:
    """Whether what columns are made of is in a config, which is not validated."""
    model, training = config["model"], config["training"]
    phases = training.get("phases")
    return (
        all(
            _fits(model[name], "whole") and model[name] is not None
            for name in SHAPE
            if name in model
        )
        and all(isinstance(config[part].get("kind", ""), str) for part in ("task", "objective"))
        and _fits(config.get("seed"), "whole")
        and _fits(training.get("lr"), "number")
        and isinstance(phases, list)
        and all(isinstance(phase, dict) for phase in phases)
    )


def are_measurements(rows: Any) -> bool:
    """Whether they can be rows of a table of results."""
    return isinstance(rows, list) and all(
        isinstance(row, dict)
        and "metric" in row
        and all(_fits(row.get(name), kind) for name, kind in MEASUREMENT.items())
        for row in rows
    )


def is_line(line: dict[str, Any]) -> bool:
    """Whether a line of metrics.jsonl, other than the first, can be rows of a table of results."""
    growth = line.get("growth") or {}  # besides its losses it says from what to what, and how
    plain = {k: v for k, v in line.items() if k.partition(".")[0] in ("loss", "exit", *LOGGED)}
    return (
        line.get("step") is not None
        and _fits(line["step"], "whole")
        and isinstance(growth, dict)
        and all(_fits(value, "number") for value in plain.values())
        and all(
            _fits(value, "number")
            for key, value in growth.items()
            if key.endswith(("_before", "_after"))
        )
        and are_measurements(line.get("measurements", []))
    )


def is_text(value: str) -> bool:
    """Whether it can be written: no half of a surrogate pair, as JSON may escape it, is in it."""
    return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)


def _fits(value: Any, kind: str) -> bool:
    """Whether a value from JSON, or None for what was not said, can stand in such a column."""
    if value is None:
        return True
    if kind == "text":
        return isinstance(value, str) and is_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if kind == "whole":
        return isinstance(value, int) and abs(value) < 2**63
    return isinstance(value, float) or abs(value) <= sys.float_info.max
