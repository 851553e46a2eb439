"""Classes from files of the user's own, found again where the files or the results were moved.

A config names such a file by its whole path. Where nothing lies there any more, the file is looked
for at the same place relative to the results, as after a move of a whole project: below every
folder that holds them. It has to be the file that the run was trained with. What a run folder
keeps in `sources` is a copy for people and is never executed: results are data only.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SOURCES = "sources"


def file_hash(path: Path) -> str:
    """SHA-256 (16 digits) of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def found_again(data: Any, out: Path, plugins: dict[str, str] | None = None) -> Any:
    """The data of a config or a record with the files of its kinds where they lie now.

    What cannot be found stays as it is.

    Args:
        out: folder of the runs.
        plugins: name -> hash of the files that a run was trained with.
    """
    if isinstance(data, dict):
        moved = {key: found_again(value, out, plugins) for key, value in data.items()}
        kind = _file_of(data)
        if kind is None or (path := _search(kind[0], out, plugins)) is None:
            return moved
        return {**moved, "kind": f"{path}:{kind[1]}"}
    if isinstance(data, list):
        return [found_again(value, out, plugins) for value in data]
    return data


def lost_files(data: Any, folder: Path, plugins: dict[str, str] | None = None) -> Iterator[str]:
    """A sentence for each file that a run's config names and that is nowhere to be found."""
    if isinstance(data, list):
        for value in data:
            yield from lost_files(value, folder, plugins)
    if not isinstance(data, dict):
        return
    for value in data.values():
        yield from lost_files(value, folder, plugins)
    if (kind := _file_of(data)) is None or _search(kind[0], folder.parent, plugins) is not None:
        return
    path, name = kind
    here = folder.parent.absolute().parent / path.name
    copy = folder / SOURCES / path.name
    put = f"put {copy}, which is a copy of it, there" if copy.is_file() else "put it back there"
    other = f"; another file is at {here}" if here.is_file() else ""
    yield (
        f"{folder.name}: {name} comes from {path}, which is not there any more{other}; {put} or at "
        f"{here}"
    )


def _file_of(data: dict[str, Any]) -> tuple[Path, str] | None:
    """File and class of a kind whose file is not where its path says."""
    kind = data.get("kind")
    file, colon, name = kind.rpartition(":") if isinstance(kind, str) else ("", "", "")
    path = Path(file)
    if not colon or path.suffix != ".py" or not path.is_absolute() or path.is_file():
        return None
    return path, name


def _search(path: Path, out: Path, plugins: dict[str, str] | None) -> Path | None:
    known = plugins.items() if isinstance(plugins, dict) else ()
    wanted = {value for name, value in known if Path(name).name == path.name}
    tails = [Path(*path.parts[i:]) for i in range(1, len(path.parts))]
    for folder in out.absolute().parents:
        for candidate in (folder / tail for tail in tails):
            if candidate.is_file() and (not wanted or file_hash(candidate) in wanted):
                return candidate
    return None
