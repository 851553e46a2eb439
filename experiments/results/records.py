"""One run's files as plain data, wherever they were read from, and what follows from them."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

from experiments.errors import LoopscopeError
from experiments.results.recounting import recounted
from experiments.runs.folder import RunFolder, State
from experiments.runs.integrity import AGAIN, completed, config_problem, has_own_code
from experiments.runs.provenance import known_code
from experiments.runs.record_checks import Code, is_config, is_grid
from experiments.runs.schema_version import read_or_why
from models.config import LoopedConfig


@dataclass(frozen=True)
class Point:
    """A run's place in a grid. A run outside every grid has one point without a grid."""

    run_id: str
    grid: str = ""
    part: str = ""
    labels: dict[str, str] = field(default_factory=dict)


def whole_grid(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """The record of a grid; None where it is damaged."""
    return record if record is not None and is_grid(record) else None


def points_of(grid: str, record: dict[str, Any] | None, path: Path | str) -> list[Point]:
    """The points in the record of a grid.

    Raises:
        LoopscopeError: the record is damaged.
    """
    if record is None:
        raise LoopscopeError(f"{path} is damaged; `loopscope run` with that grid writes it again")
    points = [Point(p["run_id"], grid, p["part"], {**p["labels"]}) for p in record["points"]]
    if bad := [p.run_id for p in points if not is_name(p.run_id)]:
        raise LoopscopeError(f"{path} is damaged: {bad[0]!r} is no run id")
    return points


def is_columns(config: dict[str, Any]) -> bool:
    """Whether columns can be made of a config: no part lacks, and all values fit."""
    parts = (config.get(part) for part in ("task", "model", "objective", "training"))
    return all(isinstance(part, dict) for part in parts) and is_config(config)


def is_name(text: str) -> bool:
    """Whether it names a file of the folder it is looked for in, and of no other."""
    return bool(text) and text not in (".", "..") and not set(text) & set("/\\\0")


#: what helps where a result is damaged
MEASURED_AGAIN = "`loopscope run` with its grid measures it again, where its checkpoint is there"


def left_out(run_id: str, problem: str) -> str:
    """The sentence for a person about a damaged run."""
    return f"{run_id} is left out: {problem}"


def curves_left_out(run_id: str, problem: str) -> str:
    """The sentence for a person about a run of which only the final numbers are to be trusted."""
    return f"what {run_id} measured while it was trained is left out: {problem}"


RecordState: TypeAlias = State | Literal["damaged"]


@dataclass(frozen=True)
class Record:
    """What the files of a run say. What is missing is empty, and all of it where one is damaged.

    Attributes:
        state: damaged where the config or the result is not what was written.
        config: as frozen; not validated: results outlive the plugin files in it.
        status: `step` and `reason`, as far as there is a status; why a run is damaged; in an
            archive also `code`, and as `curves` why lines are left out.
        versions: kind -> version of its parts, as far as it is known.
        code: files from elsewhere that it was computed with.
    """

    run_id: str
    state: RecordState = "missing"
    config: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    code: Code = field(default_factory=dict)

    @classmethod
    def read(cls, folder: RunFolder) -> "Record":
        """Reads the record from the run's folder and writes nothing."""
        status = folder.status()
        known = {} if status is None else {"step": status.step, "reason": status.reason}
        result, problem = folder.result_or_why()
        path = folder.path / "config.json"
        config, unread = read_or_why(path)
        if config is None and (path.exists() or result is not None):
            return cls(folder.run_id).damaged(f"{unread}: {AGAIN}", known)
        if problem:
            found = cls(folder.run_id, config=config or {}).checked()
            return found.damaged(f"{problem}: {MEASURED_AGAIN}", known)
        if config is None:
            return cls(folder.run_id, status=known)
        state: State = folder.state_of_unfinished() if result is None else "done"
        code = known_code(folder.environment(), result or {}) if has_own_code(config) else {}
        found = cls(folder.run_id, state, config, result or {}, known, code=code).checked()
        if state == "resumable" and status is not None and status.state == "done":
            return found.damaged(
                f"result.json is missing, and the run was done: {MEASURED_AGAIN}", known
            )
        return found

    def damaged(self, problem: str, status: dict[str, Any]) -> "Record":
        """The record of a run whose numbers are not to be trusted; an earlier problem stays."""
        if self.state == "damaged":
            return self
        return replace(self, state="damaged", result={}, status={**status, "reason": problem})

    def checked(self) -> "Record":
        """The record with its versions, or that of a damaged run if the config is not its own."""
        if not self.config or self.state == "damaged":
            return self
        problem, versions = config_problem(self.run_id, self.config, self.result)
        if not problem and not is_columns(self.config):
            problem = f"config.json lacks fields, or has values where there can be none: {AGAIN}"
        if problem:
            return replace(self, config={}).damaged(problem, self.status)
        return replace(self, versions=versions)


@dataclass(frozen=True)
class Run:
    """What the results say about a run.

    Attributes:
        told: code that it was computed with, where other runs read with it have other code.
        start: the run whose weights it started from, where that is among the results.
    """

    record: Record
    told: str = ""
    start: "Run | None" = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The frozen config; empty where there is none or the run is damaged."""
        return self.record.config

    @property
    def result(self) -> dict[str, Any]:
        return self.record.result

    @cached_property
    def measurements(self) -> list[dict[str, Any]]:
        """As probes count today, see `recounted`."""
        return recounted(self.result.get("measurements", []))

    @property
    def was_recounted(self) -> bool:
        """Whether `measurements` are not those of the result."""
        return self.measurements is not self.result.get("measurements", self.measurements)

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
            "executed_flops": result.get("executed_flops"),
            "seed": config.get("seed"),
            "lr": config.get("training", {}).get("lr"),
            "exposures": result.get("exposures"),
            "step": result.get("steps", status.get("step")),
            "status": self.record.state,
            "reason": status.get("reason", ""),
            "cell": self.key("seed") if config else "",
            "code": self.told,
            "cpu_seconds": result.get("timings", {}).get("cpu_seconds"),
        }

    def key(self, *without: str) -> str:
        """Hash of the config, as it is frozen today, without `observe` and the given dotted paths.

        A path's `*` stands for every element of a list. The run that it started from counts by
        its own key, so that seeds which started from their own seed's run belong together.
        """
        config = json.loads(json.dumps({**completed(self.config), "observe": None}))
        if self.told:
            config["code"] = self.told
        if self.start is not None:
            config["start"] = self.start.key(*without)
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


def runs_of(records: dict[str, Record], told: Callable[[Record], str]) -> dict[str, Run]:
    """Run id -> run, each with the one it started from and what is told of its code."""
    found: dict[str, Run] = {}

    def run_of(name: str, after: tuple[str, ...] = ()) -> Run:
        if name not in found:
            start = records[name].config.get("start")
            before = None
            if isinstance(start, str) and start in records and start not in (name, *after):
                before = run_of(start, (name, *after))
            found[name] = Run(records[name], told(records[name]), before)
        return found[name]

    return {name: run_of(name) for name in records}
