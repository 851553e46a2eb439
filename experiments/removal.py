"""Removing runs: only what lies in the output folder, and nothing that is worked on."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.claim import Claim
from experiments.conditions import Condition, chosen_runs
from experiments.errors import LoopscopeError
from experiments.files import write_json
from experiments.machine import bytes_text
from experiments.records import is_name
from experiments.results import load_runs
from experiments.store import RunFolder, check_output, run_folders
from experiments.summary import aligned
from experiments.versions import read_current, stamped

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
        raise LoopscopeError(f"{out} is no folder of runs")
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
    if Claim.is_held(folder.claim_path):
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

    A run is claimed first, so that no runner takes it up meanwhile, and vanishes in one step.

    Yields:
        (id, why it stays) of each run; the reason is empty where it is gone.

    Raises:
        LoopscopeError: the records of grids are a link to another place.
    """
    if (out / "grids").is_symlink():
        raise LoopscopeError(f"{out / 'grids'} is a link to another place; nothing was removed")
    claims: dict[RunFolder, Claim] = {}
    for candidate in chosen:
        refusal = candidate.refusal or _refusal(out, candidate.folder, {})
        claim = None if refusal else Claim.acquire(candidate.folder.claim_path)
        if claim is None:
            yield candidate.folder.run_id, refusal or "is worked on just now"
        else:
            claims[candidate.folder] = claim
    forget(out, {folder.run_id for folder in claims})
    for folder, claim in claims.items():
        hidden = out / f".removed-{folder.run_id}.{os.getpid()}"
        try:
            os.rename(folder.path, hidden)
            shutil.rmtree(hidden)
        except OSError as error:
            claim.release()
            yield folder.run_id, f"{error.filename}: {error.strerror}"
        else:
            yield folder.run_id, ""


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
            write_json(path, stamped({**record, "points": kept}))
