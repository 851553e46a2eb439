"""JSON files that a crash cannot leave half written, and lines that it can only leave torn."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


def write_json(path: Path, data: Any, *, durable: bool = True) -> None:
    """Replaces `path` as a whole; after a crash it holds either the old or the new text.

    Args:
        durable: wait for the disk, so that this holds after a power failure too.
    """
    with replacing(path, durable=durable) as file:
        file.write(_text(data, indent=1).encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """A new file that replaces `path` once it is written; after an error it does not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with named(path):
        try:
            with temporary.open("wb") as file:
                yield file
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Makes errors of the disk name `path`: the system names no file, or our temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(path), None
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The mapping in a file; None where the file is missing or holds none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def parse_line(raw: bytes) -> dict[str, Any] | None:
    """The mapping in one line of a file; None where the line is torn."""
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return line if raw.endswith(b"\n") and isinstance(line, dict) else None


def corrupt(path: Path) -> Path:
    """Where a damaged file is kept."""
    return path.with_name(f"{path.name}.corrupt")


def append_line(path: Path, data: dict[str, Any]) -> None:
    """Adds one line of JSON to a file."""
    with named(path), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(_text(data))


def _text(data: Any, indent: int | None = None) -> str:
    """The JSON, to be encoded with `backslashreplace`: what that makes of half a surrogate pair, as
    in names of files that are no text, is how JSON escapes it.
    """
    return json.dumps(data, indent=indent, ensure_ascii=False) + "\n"


def sync(path: Path) -> None:
    """Waits until what was written to a file, if there is one, is on the disk."""
    if path.exists():
        with named(path), path.open("ab") as file:
            os.fsync(file.fileno())
