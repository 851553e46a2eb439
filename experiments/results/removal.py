"""Removing runs: only what lies in the output folder, and nothing that is worked on."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import LoopscopeError
from experiments.results.long_table import load_runs
from experiments.results.records import is_name
from experiments.results.row_filter import Condition, chosen_runs
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import sealed, write_json
from experiments.runs.lock import RunLock
from experiments.runs.output import check_output, no_folder, run_folders
from experiments.runs.schema_version import read_current, stamped
from experiments.text import aligned, bytes_text

HEAD = ("run", "status", "arm", "seed", "size", "grids")


@dataclass(frozen=True)
class Candidate:
    """A run that was chosen; `refusal` says why it has to stay."""

    folder: RunFolder
    row: tuple[str, ...]
    size: int
    refusal: str = ""


def candidates(out: Path, conditions: Sequence[Condition]) -> list[Candidate]:
    """The runs in `out` that meet every condition. Changes nothing.

    Raises:
        LoopscopeError: no conditions, no such runs, or `out` is no folder of runs.
    """
    import pandas as pd

    if not out.is_dir():
        raise LoopscopeError(no_folder(out))
    check_output(out)
    if not conditions:
        raise LoopscopeError("say which runs with --where, such as --where status=failed")
    rows = load_runs(out)
    chosen = set(chosen_runs(rows, conditions, "rm removes"))
    folders = [folder for folder in run_folders(out) if folder.run_id in chosen]
    if not folders:
        raise LoopscopeError(f"{out} has no run with {', '.join(map(str, conditions))}")
    needed = _starts(out, chosen)
    found = []
    for folder in folders:
        of_run = rows[rows["run_id"] == folder.run_id]
        first, grids = of_run.iloc[0], ", ".join(filter(None, dict.fromkeys(of_run["grid"])))
        size = _size(folder.path)
        seed = "" if pd.isna(first["seed"]) else str(first["seed"])
        row = (folder.run_id, first["status"], first["arm"], seed, bytes_text(size), grids)
        found.append(Candidate(folder, row, size, _refusal(out, folder, needed)))
    return found


def as_text(chosen: Sequence[Candidate]) -> str:
    """A line per run."""
    return aligned([HEAD, *(c.row for c in chosen)]) if chosen else ""


def _starts(out: Path, chosen: set[str]) -> dict[str, str]:
    """Run -> one that stays, is not done and starts from its weights."""
    found = {}
    for folder in run_folders(out):
        config = read_current(folder.path / "config.json") or {}
        start = config.get("start")
        if folder.run_id not in chosen and start in chosen and folder.state() != "done":
            found[start] = folder.run_id
    return found


def _refusal(out: Path, folder: RunFolder, needed: dict[str, str]) -> str:
    path = folder.path
    if not is_name(path.name) or path.parent != out or path.is_symlink():
        return "is a link to another place; only what lies in the folder is removed"
    if RunLock.is_held(folder.lock_path):
        return "is worked on just now"
    if folder.run_id in needed:
        return f"{needed[folder.run_id]}, which is not done, starts from its weights"
    return ""


def _size(folder: Path) -> int:
    """Bytes of the files below a folder; links are not followed."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def remove(out: Path, chosen: Sequence[Candidate]) -> Iterator[tuple[str, str]]:
    """Removes runs and their places in the records of grids.

    A run is locked first, so that no runner takes it up meanwhile, and vanishes in one step. What
    stays keeps its place in the records, and all comes back where those cannot be written.

    Yields:
        (id, why it stays) of each run; the reason is empty where it is gone.

    Raises:
        LoopscopeError: the records of grids are a link to another place.
    """
    if (out / "grids").is_symlink():
        raise LoopscopeError(f"{out / 'grids'} is a link to another place; nothing was removed")
    hidden: dict[RunFolder, tuple[Path, RunLock]] = {}
    stays: dict[str, str] = {}
    for candidate in chosen:
        folder = candidate.folder
        away = out / f".removed-{folder.run_id}.{os.getpid()}"
        try:
            if refusal := candidate.refusal or _refusal(out, folder, {}):
                stays[folder.run_id] = refusal
            elif lock := _hide(folder, away):
                hidden[folder] = away, lock
            else:
                stays[folder.run_id] = "is worked on just now"
        except OSError as error:
            stays[folder.run_id] = f"{error.filename}: {error.strerror}"
    try:
        forget(out, {folder.run_id for folder in hidden})
    except OSError:
        for folder, (away, lock) in hidden.items():
            os.rename(away, folder.path)
            lock.release()
        raise
    yield from stays.items()
    for folder, (away, _) in hidden.items():
        try:
            shutil.rmtree(away)
        except OSError as error:
            yield folder.run_id, f"{error.filename}: {error.strerror}"
        else:
            yield folder.run_id, ""


def _hide(folder: RunFolder, away: Path) -> RunLock | None:
    """Claims a run and takes its folder out of the way; None where another process has it."""
    lock = RunLock.acquire(folder.lock_path)
    if lock is None:
        return None
    try:
        os.rename(folder.path, away)
    except OSError:
        lock.release()
        raise
    return lock


def forget(out: Path, run_ids: set[str]) -> None:
    """Takes runs out of the records of grids; a record without points goes too."""
    for path in sorted(out.glob("grids/*.json")):
        record = read_current(path, "grid.json")
        points = record.get("points") if record else None
        if record is None or not isinstance(points, list):
            continue
        kept = [p for p in points if not isinstance(p, dict) or p.get("run_id") not in run_ids]
        if not kept and points:
            path.unlink()
        elif len(kept) < len(points):
            write_json(path, sealed(stamped({**record, "points": kept})))
