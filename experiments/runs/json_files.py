"""JSON files that a crash cannot leave half written, and lines that it can only leave torn.

A file may end in its own checksum, see `sealed`: then one that is not what was written, by a bad
disk or by an editor, is as good as none. How its JSON is laid out is no matter.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

#: the last entry of a file that is sealed
SEAL = "checksum"
#: bytes of the largest JSON file that is read, and of the largest file of lines
LARGEST, LARGEST_LINES = 64 * 2**20, 512 * 2**20


def write_json(path: Path, data: Any, *, durable: bool = True) -> None:
    """Replaces `path` as a whole; after a crash it holds either the old or the new text.

    Args:
        durable: wait for the disk, so that this holds after a power failure too.
    """
    with replacing(path, durable=durable) as file:
        file.write(_encoded(_text(data, indent=1)))


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
    """The mapping in a file, without its seal; None where it is missing, damaged or holds none."""
    try:
        return parse_json(read_bounded(path, LARGEST))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return None


def read_bounded(path: Path, largest: int) -> bytes:
    """The content of a file.

    Raises:
        ValueError: it is larger, so that it would be read for minutes.
    """
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"more than {largest} bytes")
    return content


def parse_json(raw: bytes) -> dict[str, Any]:
    """The mapping in the content of a file, without its seal.

    Raises:
        ValueError: it holds none, or not what was sealed.
    """
    try:
        data = json.loads(raw)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(data, dict):
        raise ValueError("a file that should hold a mapping does not")
    if SEAL in data:
        check_seal(data, raw)
        del data[SEAL]
    return data


def sealed(data: dict[str, Any]) -> dict[str, Any]:
    """The content of a file, and its checksum as the last entry."""
    return {**data, SEAL: _checksum_of_text(data)}


def checksum(data: Any) -> str:
    """SHA-256 of what JSON says, however it is laid out."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum_of_text(data: Any) -> str:
    """SHA-256 of a file as `write_json` writes it."""
    return hashlib.sha256(_encoded(_text(data, indent=1))).hexdigest()


def check_seal(data: dict[str, Any], raw: bytes) -> None:
    """Raises ValueError where the content of a file is not what was sealed.

    Args:
        raw: the file, whose text is hashed at once where it is as it was written.
    """
    said = data[SEAL]
    end = f',\n "{SEAL}": "{said}"\n}}\n'.encode(errors="replace")
    as_written = hashlib.sha256(raw.removesuffix(end) + b"\n}\n").hexdigest()
    if said != as_written and said != _checksum_of_text(
        {k: v for k, v in data.items() if k != SEAL}
    ):
        raise ValueError("it is not what was written: it was edited, or the disk has damaged it")


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


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def sync(path: Path) -> None:
    """Waits until what was written to a file, if there is one, is on the disk."""
    if path.exists():
        with named(path), path.open("ab") as file:
            os.fsync(file.fileno())
