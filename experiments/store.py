"""Run folders: everything about one run in plain files that survive a crash.

    OUT/loopscope.json            schema version of the folder
    OUT/grids/<grid>.json         which runs belong to a grid, with their labels
    OUT/<run id>/config.json      frozen when the run is first asked for
                 environment.json versions and a hash of every source file
                 status.json      heartbeat: state, step, loss, reason
                 metrics.jsonl    one line per logged step or evaluation
                 checkpoint.pt    last state, at the end the final weights
                 probes/*.json    one file per probe
                 log.txt          messages and tracebacks
                 result.json      written last, atomically: its presence means done

JSON files are replaced as a whole, so a reader never sees half of one. A file that cannot be
read is set aside as `*.corrupt` by `repair` and made again.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from experiments.claim import Claim
from experiments.config import SCHEMA_VERSION, RunConfig
from experiments.errors import LoopscopeError
from experiments.files import append_line, read_json, read_lines, write_json

State = Literal["missing", "resumable", "running", "failed", "done"]

OUTPUT_FILE = "loopscope.json"


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


@dataclass(frozen=True)
class RunFolder:
    """One run's files. Reading never changes anything; `repair` does."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def checkpoint_path(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def previous_checkpoint_path(self) -> Path:
        return self.path / "checkpoint.previous.pt"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def claim_path(self) -> Path:
        return self.path / "claim.json"

    def freeze(self, config: RunConfig) -> None:
        """Makes the folder with its config; one that is already frozen stays as it is."""
        self.path.mkdir(parents=True, exist_ok=True)
        if read_json(self.path / "config.json") is None:
            fields = config.canonical().model_dump(mode="json")
            write_json(self.path / "config.json", fields)

    def config(self) -> RunConfig:
        """The frozen config.

        Raises:
            LoopscopeError: there is none, or it is not of this version of loopscope.
        """
        path = self.path / "config.json"
        fields = read_json(path)
        if fields is None:
            raise LoopscopeError(f"{path} is missing or unreadable; `loopscope run` makes it again")
        try:
            return RunConfig.model_validate(fields)
        except ValidationError as error:
            raise LoopscopeError(
                f"{path} does not fit this version of loopscope:\n{error}"
            ) from error

    def check_unedited(self, config: RunConfig) -> None:
        """Whether the frozen config is the one that the folder is named after.

        Raises:
            LoopscopeError: it is that of another run.
        """
        if config.run_id != self.run_id:
            raise LoopscopeError(
                f"{self.path / 'config.json'} is that of {config.run_id}: it was edited, or a "
                "task, model or objective has a new version since. If it was edited, remove it: "
                "`loopscope run --retry-failed` makes it again"
            )

    def status(self) -> Status | None:
        """None where no status was written or it cannot be read."""
        try:
            return Status.model_validate(read_json(self.path / "status.json"))
        except ValidationError:
            return None

    def write_status(self, status: Status) -> None:
        stamped = status.model_copy(update={"time": time.time(), "pid": os.getpid()})
        write_json(self.path / "status.json", stamped.model_dump(mode="json"), durable=False)

    def fail(self, reason: str) -> None:
        """Marks the run as failed and keeps what was known of its progress."""
        known = self.status() or Status(state="failed")
        self.write_status(known.model_copy(update={"state": "failed", "reason": reason}))

    def result(self) -> dict[str, Any] | None:
        """The result; None where the run is not done or the file is damaged."""
        result = read_json(self.path / "result.json")
        if result is None or result.get("run_id") != self.run_id:
            return None
        rows = result.get("measurements")
        whole = isinstance(rows, list) and all(isinstance(r, dict) and "metric" in r for r in rows)
        return result if whole else None

    def write_result(self, result: dict[str, Any]) -> None:
        write_json(self.path / "result.json", result)

    def environment(self) -> dict[str, Any] | None:
        return read_json(self.path / "environment.json")

    def state(self) -> State:
        """Where the run stands, from its files alone."""
        if not (self.path / "config.json").exists():
            return "missing"
        if self.result() is not None:
            return "done"
        if Claim.is_held(self.claim_path):
            return "running"
        status = self.status()
        if status is not None and status.state == "failed":
            return "failed"
        started = status is not None or self.has_checkpoint()
        return "resumable" if started else "missing"

    def has_checkpoint(self) -> bool:
        return self.checkpoint_path.exists() or self.previous_checkpoint_path.exists()

    def log(self, text: str) -> None:
        """Appends a dated message to log.txt."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text.rstrip()}\n")

    def set_aside(self, path: Path, why: str) -> str:
        """Renames a damaged file to `*.corrupt` and logs it; the message for the user."""
        target = path.with_name(f"{path.name}.corrupt")
        os.replace(path, target)
        message = f"{self.run_id}/{path.name} {why}; set aside as {target.name}"
        self.log(message)
        return message

    def repair(self) -> list[str]:
        """Sets damaged JSON files aside; what was found, one message per file."""
        found = []
        for name, readable in (
            ("result.json", self.result),
            ("status.json", self.status),
            ("environment.json", self.environment),
        ):
            path = self.path / name
            if path.exists() and readable() is None:
                found.append(self.set_aside(path, "could not be read"))
        return found

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl in order, without what follows a torn line or has no step."""
        return [line for line, _ in read_lines(self.metrics_path) if "step" in line]

    def append_metrics(self, line: dict[str, Any]) -> None:
        append_line(self.metrics_path, line)

    def cut_metrics(self, step: int) -> None:
        """Drops the lines after `step`, which a resumed run writes again."""
        ends = [end for line, end in read_lines(self.metrics_path) if line.get("step", 0) <= step]
        if self.metrics_path.exists():
            os.truncate(self.metrics_path, max(ends, default=0))


def check_output(out: Path) -> None:
    """Whether runs can be kept in `out`; makes nothing.

    Raises:
        LoopscopeError: not a folder, not writable, or of another schema version.
    """
    nearest = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not nearest.is_dir():
        raise LoopscopeError(f"{nearest} is a file; --out needs a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise LoopscopeError(
            f"{nearest} is not writable; choose another folder with --out or change its permissions"
        )
    path = out / OUTPUT_FILE
    if not path.exists():
        return
    found = (read_json(path) or {}).get("schema_version")
    if found is None:
        raise LoopscopeError(
            f"{path} is damaged; if this is a folder of runs, remove that file: "
            "`loopscope run` makes it again"
        )
    if found != SCHEMA_VERSION:
        raise LoopscopeError(
            f"{path} says schema version {found}, this loopscope writes {SCHEMA_VERSION}; "
            "choose another folder with --out"
        )


def prepare_output(out: Path) -> None:
    """Makes `out` a folder of runs.

    Raises:
        LoopscopeError: as `check_output`, or the folder cannot be made.
    """
    check_output(out)
    try:
        (out / "grids").mkdir(parents=True, exist_ok=True)
        if not (out / OUTPUT_FILE).exists():
            write_json(out / OUTPUT_FILE, {"schema_version": SCHEMA_VERSION})
    except OSError as error:
        raise LoopscopeError(f"{out} cannot be used for runs: {error.strerror}") from error


def run_folders(out: Path) -> list[RunFolder]:
    """Every run in `out`, sorted by id."""
    return [RunFolder(p.parent) for p in sorted(out.glob("*/config.json"))]


def find_run(out: Path, prefix: str) -> RunFolder:
    """The run whose id starts with `prefix`.

    Raises:
        LoopscopeError: no run, or several.
    """
    folders = run_folders(out)
    found = [f for f in folders if f.run_id == prefix] or [
        f for f in folders if f.run_id.startswith(prefix)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise LoopscopeError(f"{out} has no run {prefix}; `loopscope status {out}` lists its runs")
    names = ", ".join(f.run_id for f in found)
    raise LoopscopeError(f"{prefix} is the start of {len(found)} runs in {out}: {names}")


def record_grid(
    out: Path,
    name: str,
    *,
    title: str,
    figures: list[dict[str, Any]],
    points: Iterable[dict[str, Any]],
) -> None:
    """Writes which points ({run_id, part, labels}) a grid has; an edited grid replaces the list.

    Run folders are never removed, whatever happens to the grid that asked for them.
    """
    write_json(
        out / "grids" / f"{name}.json",
        {"name": name, "title": title, "figures": figures, "points": list(points)},
    )
