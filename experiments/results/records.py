"""One run's files as plain data, wherever they were read from, and what follows from them."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.errors import LoopscopeError
from experiments.runs.folder import RunFolder, State
from experiments.runs.record_checks import is_config
from experiments.runs.schema_version import read_current
from models.config import LoopedConfig


@dataclass(frozen=True)
class Point:
    """A run's place in a grid. A run outside every grid has one point without a grid."""

    run_id: str
    grid: str = ""
    part: str = ""
    labels: dict[str, str] = field(default_factory=dict)


def points_of(grid: str, record: dict[str, Any] | None, path: Path | str) -> list[Point]:
    """The points in the record of a grid.

    Raises:
        LoopscopeError: the record is damaged.
    """
    try:
        points = [
            Point(str(point["run_id"]), grid, point["part"], {**point["labels"]})
            for point in (record or {})["points"]
        ]
    except (KeyError, TypeError) as error:
        raise LoopscopeError(
            f"{path} is damaged; `loopscope run` with that grid writes it again"
        ) from error
    if bad := [p.run_id for p in points if not is_name(p.run_id)]:
        raise LoopscopeError(f"{path} is damaged: {bad[0]!r} is no run id")
    return points


def is_name(text: str) -> bool:
    """Whether it names a file of the folder it is looked for in, and of no other."""
    return bool(text) and text not in (".", "..") and not set(text) & set("/\\\0")


@dataclass(frozen=True)
class Record:
    """What the files of a run say. What is missing or damaged is empty.

    Attributes:
        config: as frozen; not validated: results outlive the plugin files in it.
        status: `step` and `reason`, as far as there is a status.
    """

    run_id: str
    state: State = "missing"
    config: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: RunFolder) -> "Record":
        """Reads the record from the run's folder and writes nothing."""
        path = folder.path / "config.json"
        result, status = folder.result(), folder.status()
        state: State = "done" if result is not None and path.exists() else folder.state()
        return cls(
            folder.run_id,
            state,
            read_current(path) or {},
            result or {},
            {} if status is None else {"step": status.step, "reason": status.reason},
        )


@dataclass(frozen=True)
class Run:
    """What the results say about a run."""

    record: Record

    @cached_property
    def config(self) -> dict[str, Any]:
        """The frozen config; empty where it lacks a part or does not fit into columns."""
        config = self.record.config
        parts = (config.get(part) for part in ("task", "model", "objective", "training"))
        whole = all(isinstance(part, dict) for part in parts)
        return config if whole and is_config(config) else {}

    @property
    def result(self) -> dict[str, Any]:
        return self.record.result

    @property
    def measurements(self) -> list[dict[str, Any]]:
        return self.result.get("measurements", [])

    @cached_property
    def columns(self) -> dict[str, Any]:
        """The columns that every row of this run shares."""
        config, result, status = self.config, self.result, self.record.status
        model = LoopedConfig.model_construct(**config.get("model", {}))
        parameters = result.get("parameters", {})
        total = parameters.get("total")
        embedding = parameters.get("embedding", 0) + parameters.get("head", 0)
        shape = {"k": model.core, "n_loops": model.loops, "width": model.width}
        layers, arm = result.get("layers", model.layers), result.get("label", model.label)
        known = {**shape, "layers": layers, "arm": arm} if config else {}
        return {
            **known,
            "run_id": self.record.run_id,
            # the result says what a class from a file calls itself, the config where the file lies
            "task": result.get("task", config.get("task", {}).get("kind", "")),
            "objective": result.get("objective", config.get("objective", {}).get("kind", "")),
            "parameters": total,
            "embedding_share": embedding / total if total else None,
            "train_flops": result.get("train_flops"),
            "seed": config.get("seed"),
            "lr": config.get("training", {}).get("lr"),
            "exposures": result.get("exposures"),
            "step": result.get("steps", status.get("step")),
            "status": self.record.state,
            "reason": status.get("reason", ""),
            "cell": self.key("seed") if config else "",
            "cpu_seconds": result.get("timings", {}).get("cpu_seconds"),
        }

    def key(self, *without: str) -> str:
        """Hash of the config without `observe` and the given dotted paths.

        A path's `*` stands for every element of a list.
        """
        config = json.loads(json.dumps({**self.config, "observe": None}))
        for path in without:
            _remove(config, path.split("."))
        text = json.dumps(config, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def shown(self, measurement: dict[str, Any]) -> dict[str, Any]:
        """How often the component that was measured has been shown, where it is one."""
        component = self.result.get("components", {}).get(measurement.get("component"), {})
        return {"exposures": component["exposures"]} if "exposures" in component else {}

    @property
    def bits_per_parameter(self) -> float | None:
        """Bits of all that is stored, at the last loop; in a mixture those of `counted`."""
        for row in self.measurements:
            if row.get("component", "") != (self.result.get("counted") or ""):
                continue
            last = row.get("loop") in (None, self.columns.get("n_loops"))
            if row["metric"] == "bits_per_parameter" and row.get("item") == "total" and last:
                return row["value"]
        return None


def _remove(data: Any, path: list[str]) -> None:
    head, *rest = path
    if head == "*":
        for element in data:
            _remove(element, rest)
    elif rest:
        _remove(data.get(head, {}), rest)
    else:
        data.pop(head, None)
