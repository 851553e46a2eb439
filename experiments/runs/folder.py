"""Run folders: everything about one run in plain files that survive a crash.

    OUT/loopscope.json            schema version of the folder
    OUT/grids/<grid>.json         which runs belong to a grid, with their labels
    OUT/index.parquet             copies of what is done, see `experiments.results.index`
        metrics.parquet
    OUT/<run id>/config.json      frozen when the run is first asked for
                 environment.json versions and a hash of every source file
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
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from experiments.config.run import SCHEMA_VERSION, RunConfig
from experiments.errors import LoopscopeError
from experiments.runs.json_files import append_line, parse_lines, read_json, write_json
from experiments.runs.lock import Claim
from experiments.runs.repair import corrupt, cut_lines, is_metric, repair, sweep
from experiments.runs.schema_version import KEY, check_version, read_current, stamped
from experiments.runs.status import Status, is_whole

State = Literal["missing", "resumable", "running", "failed", "done"]

OUTPUT_FILE = "loopscope.json"


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
        return as_config(fields, path)

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
        result = read_current(self.path / "result.json")
        if result is None or result.get("run_id") != self.run_id:
            return None
        return result if is_whole(result) else None

    def write_result(self, result: dict[str, Any]) -> None:
        write_json(self.path / "result.json", stamped(result))

    def environment(self) -> dict[str, Any] | None:
        return read_current(self.path / "environment.json")

    def write_environment(self, environment: dict[str, Any]) -> None:
        write_json(self.path / "environment.json", stamped(environment))

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

    def repair(self) -> list[str]:
        """Sets damaged JSON files aside; what was found, one message per file."""
        return repair(self)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl in order, up to a damaged one; the first has no step."""
        return [line for line, _ in self.read_metrics()[0]]

    def read_metrics(self) -> tuple[list[tuple[dict[str, Any], str]], bool]:
        """(line, its text) as in `metrics`, and whether the file is whole: no line is damaged."""
        try:
            text = self.metrics_path.read_bytes()
        except FileNotFoundError:
            return [], True
        lines, start = [], 0
        for line, end in parse_lines(text):
            if not is_metric(line, self.metrics_path):
                break
            if "step" in line:
                lines.append((line, text[start : end - 1].decode()))
            start = end
        return lines, start == len(text)

    def append_metrics(self, line: dict[str, Any]) -> None:
        """The first line says the schema version."""
        if not self.metrics_path.exists() or not self.metrics_path.stat().st_size:
            append_line(self.metrics_path, stamped({}))
        append_line(self.metrics_path, line)

    def cut_metrics(self, step: int) -> list[str]:
        """Drops the lines after `step`, which a resumed run writes again; what was damaged."""
        return cut_lines(self, step)


def as_config(fields: dict[str, Any], name: Path | str) -> RunConfig:
    """Raises LoopscopeError for fields that this version of loopscope does not know."""
    try:
        return RunConfig.model_validate(fields)
    except ValidationError as error:
        raise LoopscopeError(f"{name} does not fit this version of loopscope:\n{error}") from error


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
    try:
        found = check_version((read_json(path) or {}).get(KEY), path)
    except ValueError as error:
        raise LoopscopeError(
            f"{path} is damaged; if this is a folder of runs, remove that file: "
            "`loopscope run` makes it again"
        ) from error
    if found < SCHEMA_VERSION:
        raise LoopscopeError(
            f"{path} says schema version {found}, this loopscope writes {SCHEMA_VERSION} and only "
            "reads older ones; choose another folder with --out"
        )


def prepare_output(out: Path) -> None:
    """Makes `out` a folder of runs.

    Raises:
        LoopscopeError: as `check_output`, or the folder cannot be made.
    """
    check_output(out)
    try:
        (out / "grids").mkdir(parents=True, exist_ok=True)
        sweep(out)
        if not (out / OUTPUT_FILE).exists():
            write_json(out / OUTPUT_FILE, stamped({}))
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
    if not found:
        if not out.is_dir():
            raise LoopscopeError(f"{out} is no folder of runs; --out names another")
        raise LoopscopeError(f"{out} has no run {prefix}; `loopscope status {out}` lists its runs")
    if len(found) == 1:
        return found[0]
    names = ", ".join(f.run_id for f in found)
    raise LoopscopeError(f"{prefix} is the start of {len(found)} runs in {out}: {names}")


def record_grid(
    out: Path,
    name: str,
    *,
    title: str,
    figures: list[dict[str, Any]],
    points: Iterable[dict[str, Any]],
    **asked: Any,
) -> None:
    """Writes which points ({run_id, part, labels}) a grid has; an edited grid replaces the list.

    Run folders are never removed, whatever happens to the grid that asked for them.

    Args:
        asked: what reports say of it, JSON-ready: `source`, its file, and `overrides`.

    Raises LoopscopeError where a record of a newer version is there.
    """
    path = out / "grids" / f"{name}.json"
    read_current(path, "grid.json")
    record = {"name": name, "title": title, **asked, "figures": figures, "points": list(points)}
    write_json(path, stamped(record))
