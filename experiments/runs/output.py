"""The output folder: many runs, and the records of the grids that asked for them."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.config.run import SCHEMA_VERSION
from experiments.errors import LoopscopeError
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import read_json, sealed, write_json
from experiments.runs.reference import is_reference, place_of, read_only
from experiments.runs.repair import sweep
from experiments.runs.schema_version import KEY, check_version, read_current, stamped

OUTPUT_FILE = "loopscope.json"


def no_folder(path: Path) -> str:
    """Why a path is no folder of runs, for the commands that need one."""
    if is_reference(path):
        return read_only(path)
    if path.exists():
        return (
            f"{path} is a file, and this needs the folder of the runs; archives are for table, "
            "figure, compare, report and notebooks"
        )
    return f"{path} is no folder of runs; `loopscope run GRID --out {path}` makes one"


def check_output(out: Path) -> None:
    """Whether runs can be kept in `out`; makes nothing.

    Raises:
        LoopscopeError: not a folder, not writable, or of another schema version.
    """
    if is_reference(out):
        raise LoopscopeError(read_only(out))
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


def folders_with_results(out: Path) -> list[RunFolder]:
    """As `run_folders`, and those that have lost their config and still have a result."""
    found = {p.parent for name in ("config.json", "result.json") for p in out.glob(f"*/{name}")}
    return [RunFolder(path) for path in sorted(found)]


def find_run(out: Path, prefix: str) -> RunFolder:
    """The run whose id starts with `prefix`.

    Raises:
        LoopscopeError: no run, or several.
    """
    out = place_of(out)
    if out.is_file():
        raise LoopscopeError(
            f"{out} is no folder of runs; an archive holds their numbers and not their weights"
        )
    if not out.is_dir():
        raise LoopscopeError(f"{out} is no folder of runs; --out names another")
    folders = {folder.run_id: folder for folder in run_folders(out)}
    return folders[one_called(prefix, folders, out)]


def one_called(prefix: str, run_ids: Iterable[str], place: Path) -> str:
    """The one id that is `prefix` or starts with it.

    Raises:
        LoopscopeError: none, or several.
    """
    names = list(run_ids)
    found = [n for n in names if n == prefix] or [n for n in names if n.startswith(prefix)]
    if not found:
        raise LoopscopeError(
            f"{place} has no run {prefix}; `loopscope status {place}` lists its runs"
        )
    if len(found) > 1:
        told = f"{prefix} is the start of {len(found)} runs in {place}"
        raise LoopscopeError(f"{told}: {', '.join(found)}")
    return found[0]


def run_folder(run: str, out: Path) -> RunFolder:
    """A run by its folder, or by its id (or the start of it) in `out`."""
    path = Path(run)
    return RunFolder(path) if (path / "config.json").is_file() else find_run(out, run)


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
        asked: what reports say of it, JSON-ready: `source`, the text of its file, `file`, its
            absolute path or what stands for a shipped one, and `overrides`.

    Raises:
        LoopscopeError: a record of a newer version is there, or one of another grid file.
    """
    path = out / "grids" / f"{name}.json"
    points = list(points)
    ids = [point["run_id"] for point in points]
    check_record(out, name, file=asked.get("file", ""), source=asked.get("source", ""), runs=ids)
    record = {"name": name, "title": title, **asked, "figures": figures, "points": points}
    write_json(path, sealed(stamped(record)))


def check_record(out: Path, name: str, *, file: str, source: str, runs: Iterable[str]) -> None:
    """Whether the record of a grid may be replaced: by that of the same file, edited or not.

    A file that is no longer where it was counts as moved where the two have a run in common.

    Raises:
        LoopscopeError: the record is of another file of that name, or of a newer version.
    """
    path = out / "grids" / f"{name}.json"
    record = read_current(path, "grid.json") or {}
    former = record.get("file")
    if not file or not isinstance(former, str) or former in ("", file):
        return
    if record.get("source") == source:
        return
    points = record.get("points")
    known = (
        [p.get("run_id") for p in points if isinstance(p, dict)] if isinstance(points, list) else []
    )
    moved = Path(former).is_absolute() and not os.path.exists(former)
    if moved and any(run in known for run in runs):
        return
    raise LoopscopeError(
        f"{path} is the record of another grid called {name}, from {former}; this one is from "
        f"{file}. Nothing was replaced: rename one of them (its file, or its `name`), or "
        f"choose another folder with --out; if the old record is not needed, remove {path}: "
        "its runs stay"
    )
