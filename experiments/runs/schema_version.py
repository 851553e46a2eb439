"""Schema versions: what files say of themselves, and how those of older versions are read.

The rule: every file of records says its `schema_version`; one that says none is of version 1.
A change of what a file means raises `SCHEMA_VERSION` and adds one entry to `READERS`, which
makes the content of the version before it into the next. Nothing else knows older versions, and
a newer one than ours is refused with one message, never guessed at.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias

from experiments.config.run import SCHEMA_VERSION
from experiments.errors import LoopscopeError
from experiments.runs.json_files import LARGEST, parse_json, read_bounded

Reader: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

KEY = "schema_version"
#: (kind of file, such as "result.json"; version) -> its content in the version after
READERS: dict[tuple[str, int], Reader] = {}


def stamped(data: dict[str, Any]) -> dict[str, Any]:
    """The content of a file with the version that we write."""
    return {KEY: SCHEMA_VERSION, **data}


def check_version(found: Any, path: Path | str) -> int:
    """The version that a file says it has.

    Raises:
        LoopscopeError: it is newer than what we know.
        ValueError: no version at all: the file is damaged.
    """
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ValueError(f"schema version {found!r}")
    if found > SCHEMA_VERSION:
        raise LoopscopeError(
            f"{path} says schema version {found}, this loopscope knows those up to "
            f"{SCHEMA_VERSION}; read it with the loopscope that wrote it, or a newer one, "
            "or choose another folder with --out"
        )
    return found


def current(data: dict[str, Any], path: Path | str, kind: str) -> dict[str, Any]:
    """What a file holds, as of our version and without the version.

    Raises:
        LoopscopeError: as `check_version`, or of a version that is no longer read.
    """
    version = check_version(data.get(KEY, 1), path)
    content = {name: value for name, value in data.items() if name != KEY}
    for older in range(version, SCHEMA_VERSION):
        if (kind, older) not in READERS:
            raise LoopscopeError(
                f"{path} is of schema version {version}, which this loopscope ({SCHEMA_VERSION}) "
                "no longer reads; read it with an older loopscope"
            )
        content = READERS[kind, older](content)
    return content


def read_current(path: Path, kind: str | None = None) -> dict[str, Any] | None:
    """The content of a file in our version; None where the file is missing or damaged.

    Args:
        kind: of the file; None: its name.
    """
    return read_or_why(path, kind)[0]


def read_or_why(path: Path, kind: str | None = None) -> tuple[dict[str, Any] | None, str]:
    """As `read_current`, and why the file cannot be read; empty where it can."""
    try:
        return current(parse_json(read_bounded(path, LARGEST)), path, kind or path.name), ""
    except (FileNotFoundError, NotADirectoryError):
        return None, f"{path.name} is missing"
    except (ValueError, IsADirectoryError) as error:
        return None, f"{path.name} is damaged ({getattr(error, 'strerror', None) or error})"


def release() -> str:
    """The version of this package; `unknown` where it is not installed."""
    try:
        return version("loopscope")
    except PackageNotFoundError:
        return "unknown"
