"""JSON files that a crash cannot leave half written, and lines that it can only leave torn."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_json(path: Path, data: Any, *, durable: bool = True) -> None:
    """Replaces `path` as a whole; after a crash it holds either the old or the new text.

    Args:
        durable: wait for the disk, so that this holds after a power failure too.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, ensure_ascii=False)
            file.write("\n")
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in a file; None where the file is missing or holds none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def append_line(path: Path, data: dict[str, Any]) -> None:
    """Adds one line of JSON to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(data, ensure_ascii=False) + "\n")


def read_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """(line, byte offset of its end) up to the first line that is torn."""
    offset = 0
    for raw in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        offset += len(raw)
        try:
            line = json.loads(raw)
        except ValueError:
            return
        if not raw.endswith(b"\n") or not isinstance(line, dict):
            return
        yield line, offset


def sync(path: Path) -> None:
    """Waits until what was written to a file, if there is one, is on the disk."""
    if path.exists():
        with path.open("a") as file:
            os.fsync(file.fileno())
