"""Repair of files of a run that a crash or a bad disk has damaged.

Nothing is deleted that somebody may want to inspect: a damaged file stays as `*.corrupt`.
Only the process that holds the lock of a run repairs it.
"""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from experiments.config.run import Observe
from experiments.errors import LoopscopeError
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import corrupt, replacing
from experiments.runs.lock import STALE_AFTER
from experiments.runs.record_checks import metric_line
from experiments.runs.schema_version import KEY, stamped

#: files that live for a moment
TEMPORARY = (".*.tmp", "probes/.*.tmp", "grids/.*.tmp", ".clock-*")


def repair(folder: RunFolder) -> list[str]:
    """Sets damaged JSON files aside and sweeps up; what was found, one message per file."""
    readers: dict[str, Callable[[], object]] = {
        "result.json": folder.result,
        "status.json": folder.status,
        "environment.json": folder.environment,
    }
    sweep(folder.path)
    return [
        folder.set_aside(folder.path / name, "could not be read")
        for name, read in readers.items()
        if (folder.path / name).exists() and read() is None
    ]


def sweep(folder: Path) -> None:
    """Removes temporary files of processes that were killed.

    Checkpoints, which are large, are written by the holder of the lock alone. Other files may
    be in use by another process, so only old ones are removed.
    """
    for path in (p for pattern in TEMPORARY for p in folder.glob(pattern)):
        try:
            old = time.time() - path.stat().st_mtime > STALE_AFTER
            if old or path.name.startswith(".checkpoint."):
                path.unlink()
        except FileNotFoundError:
            continue


def cut_metrics(folder: RunFolder, step: int) -> list[str]:
    """Drops the lines of metrics.jsonl after `step`, which a resumed run writes again.

    Returns what was damaged, as messages.
    """
    path = folder.metrics_path
    if not path.exists():
        return []
    lines = [(raw, metric_line(raw, path)) for raw in path.read_bytes().splitlines(keepends=True)]
    kept = [raw for raw, line in lines if line is not None and line.get("step", 0) <= step]
    damaged = sum(line is None for _, line in lines)
    if len(kept) == len(lines):
        return []
    if damaged:
        shutil.copyfile(path, corrupt(path))
        if not kept or KEY not in json.loads(kept[0]):  # it was the first line
            kept.insert(0, json.dumps(stamped({})).encode() + b"\n")
    with replacing(path) as file:
        file.write(b"".join(kept))
    if not damaged:
        return []
    message = (
        f"{folder.run_id}/{path.name} has {damaged} torn line{'s' * (damaged != 1)}; a copy is "
        f"set aside as {corrupt(path).name}, the other lines up to step {step} are kept"
    )
    folder.log(message)
    return [message]


def lost_lines(
    folder: RunFolder, observe: Observe, step: int, last_step: int, first: int = 0
) -> list[int]:
    """Steps after `first` up to `step` of which metrics.jsonl should have a line and has none.

    A line before the checkpoint is not written again, so one that was damaged, or is gone with
    the file, stays lost.
    """
    wanted = [("loss", observe.log_every)]
    if observe.evaluate_every is not None:
        wanted.append(("measurements", observe.evaluate_every))
    lines, lost = folder.metrics(), set[int]()
    for name, every in wanted:
        due = {*range(every, step + 1, every), *([last_step] if step == last_step else [])}
        due -= set(range(first + 1))
        lost |= due - {line["step"] for line in lines if name in line}
    return sorted(lost)


def lost_text(run_id: str, steps: list[int]) -> str:
    """The sentence for a person about lines that are lost.

    >>> lost_text("a", [10, 20])
    'a/metrics.jsonl lacks lines of 2 steps, from 10 to 20: they were damaged and stay lost'
    """
    where = f"step {steps[0]}"
    if len(steps) > 1:
        where = f"{len(steps)} steps, from {steps[0]} to {steps[-1]}"
    return f"{run_id}/metrics.jsonl lacks lines of {where}: they were damaged and stay lost"


def check_plain(folder: Path) -> None:
    """Whether what is written to a run's folder stays there.

    Raises:
        LoopscopeError: the folder, or something in it, is a link to another place.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    paths = (folder,) if folder.is_symlink() else (folder, *folder.iterdir())
    for path in (*paths, *folder.glob("probes/*")):
        if path.is_symlink():
            raise LoopscopeError(
                f"{path} is a link; runs are written to plain files of the output folder alone, "
                "so put what it leads to in its place, or remove it"
            )
