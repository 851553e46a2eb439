"""Run folders: everything about one run in plain files that survive a crash.

    OUT/loopscope.json            schema version of the folder
    OUT/grids/<grid>.json         which runs belong to a grid, with their labels
    OUT/<run id>/config.json      frozen when the run is first asked for
                 environment.json versions and a hash of every source file
                 sources/         copies of files of the user's own, such as that of a task
                 status.json      heartbeat: state, step, loss, reason
                 metrics.jsonl    one line per logged step or evaluation
                 checkpoint.pt    last state, at the end the final weights
                 probes/*.json    one file per probe
                 log.txt          messages and tracebacks
                 result.json      written last, atomically: its presence means done

All but the log say their schema version, see `experiments.runs.schema_version`.
JSON files are replaced as a whole, so a reader never sees half of one. A file that cannot be
read is set aside as `*.corrupt` by `repair` and made again.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.runs.json_files import (
    LARGEST_LINES,
    append_line,
    corrupt,
    read_bounded,
    replacing,
    sealed,
    write_json,
)
from experiments.runs.lock import RunLock
from experiments.runs.moved_files import SOURCES, found_again, lost_files
from experiments.runs.record_checks import is_whole, metric_line
from experiments.runs.schema_version import read_current, read_or_why, stamped
from experiments.runs.status import Status
from generators.plugins import STORED

State = Literal["missing", "resumable", "running", "failed", "done"]


@dataclass(frozen=True)
class RunFolder:
    """One run's files. Reading them never changes anything."""

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
    def lock_path(self) -> Path:
        return self.path / "claim.json"

    def freeze(self, config: RunConfig) -> list[str]:
        """Makes the folder with its config; one that is frozen stays. What was damaged.

        Raises LoopscopeError where one of a newer version is there.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / "config.json"
        if read_current(path) is not None:
            return []
        found = [self.set_aside(path, "could not be read")] if path.exists() else []
        write_json(path, stamped(config.canonical().model_dump(mode="json")))
        return found

    def config(self) -> RunConfig:
        """The frozen config.

        Raises:
            LoopscopeError: there is none, or it is not of this version of loopscope.
        """
        path = self.path / "config.json"
        fields = read_current(path)
        if fields is None:
            raise LoopscopeError(f"{path} is missing or unreadable; `loopscope run` makes it again")
        return as_config(fields, self.path)

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
            return Status.model_validate(read_current(self.path / "status.json"))
        except ValidationError:
            return None

    def write_status(self, status: Status) -> None:
        now = status.model_copy(update={"time": time.time(), "pid": os.getpid()})
        write_json(self.path / "status.json", stamped(now.model_dump(mode="json")), durable=False)

    def fail(self, reason: str) -> None:
        """Marks the run as failed and keeps what was known of its progress."""
        known = self.status() or Status(state="failed")
        self.write_status(known.model_copy(update={"state": "failed", "reason": reason}))

    def result(self) -> dict[str, Any] | None:
        """The result; None where the run is not done or the file is damaged."""
        return self.result_or_why()[0]

    def result_or_why(self) -> tuple[dict[str, Any] | None, str]:
        """The result, and why a result.json that is there is none; empty where none is there."""
        path = self.path / "result.json"
        result, problem = read_or_why(path)
        if result is None:
            return None, problem if path.exists() else ""
        if result.get("run_id") != self.run_id:
            return None, f"{path.name} is that of {result.get('run_id')!r}"
        if not is_whole(result):
            return None, f"{path.name} lacks numbers, or has values where there can be none"
        return result, ""

    def write_result(self, result: dict[str, Any]) -> None:
        """Writes it with its checksum, so that what was edited since counts as damaged."""
        write_json(self.path / "result.json", sealed(stamped(result)))

    def environment(self) -> dict[str, Any] | None:
        return read_current(self.path / "environment.json")

    def write_environment(self, environment: dict[str, Any]) -> None:
        write_json(self.path / "environment.json", stamped(environment))

    def keep_source(self, name: str, path: Path) -> None:
        """Keeps a copy of a file of the user's own that the run is trained with."""
        target = self.path / SOURCES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            file.write(path.read_bytes())

    def write_probe(self, record: dict[str, Any]) -> None:
        """Writes what a probe measured into the file that its `id` names."""
        path = self.path / "probes" / f"{record['id']}.json"
        path.parent.mkdir(exist_ok=True)
        write_json(path, stamped(record))

    def state(self) -> State:
        """Where the run stands, from its files alone."""
        if not (self.path / "config.json").exists():
            return "missing"
        return "done" if self.result() is not None else self.state_of_unfinished()

    def state_of_unfinished(self) -> State:
        """Where a run stands that has a config and no result."""
        if RunLock.is_held(self.lock_path):
            return "running"
        status = self.status()
        if status is not None and status.state == "failed":
            return "failed"
        started = status is not None or self.has_checkpoint()
        return "resumable" if started else "missing"

    def has_checkpoint(self) -> bool:
        return self.checkpoint_path.exists() or self.previous_checkpoint_path.exists()

    def log(self, text: str) -> None:
        """Appends a dated message to log.txt; where that cannot be, something worse will say so."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text.rstrip()}\n"
        with suppress(OSError), (self.path / "log.txt").open("ab") as file:
            file.write(line.encode("utf-8", "backslashreplace"))

    def set_aside(self, path: Path, why: str) -> str:
        """Renames a damaged file to `*.corrupt` and logs it; the message for the user."""
        target = corrupt(path)
        os.replace(path, target)
        message = f"{self.run_id}/{path.name} {why}; set aside as {target.name}"
        self.log(message)
        return message

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl in order, up to a damaged one; the first has no step."""
        return [line for line, _ in self.read_metrics()[0]]

    def read_metrics(self) -> tuple[list[tuple[dict[str, Any], str]], bool]:
        """(line, its text) as in `metrics`, and whether the file is whole: no line is damaged."""
        lines = []
        try:
            text = read_bounded(self.metrics_path, LARGEST_LINES)
        except FileNotFoundError:
            return lines, True
        except (ValueError, IsADirectoryError):
            return lines, False
        for raw in text.splitlines(keepends=True):
            line = metric_line(raw, self.metrics_path)
            if line is None:
                return lines, False
            if "step" in line:
                lines.append((line, raw[:-1].decode()))
        return lines, True

    def append_metrics(self, line: dict[str, Any]) -> None:
        """The first line says the schema version."""
        if not self.metrics_path.exists() or not self.metrics_path.stat().st_size:
            append_line(self.metrics_path, stamped({}))
        append_line(self.metrics_path, line)


def as_config(fields: dict[str, Any], folder: Path) -> RunConfig:
    """The config in a run folder, with files of the user's own where they lie now.

    Raises:
        LoopscopeError: such a file cannot be found, or this version of loopscope does not know
            the fields.
    """
    sources = (read_current(folder / "environment.json") or {}).get("sources")
    plugins = sources.get("plugins") if isinstance(sources, dict) else None
    if lost := list(lost_files(fields, folder, plugins)):
        raise LoopscopeError("\n".join(lost))
    try:
        moved = found_again(fields, folder.parent, plugins)
        return RunConfig.model_validate(moved, context=STORED)
    except ValidationError as error:
        place = folder / "config.json"
        raise LoopscopeError(f"{place} does not fit this version of loopscope:\n{error}") from error
