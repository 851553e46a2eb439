"""Archives: the results of a folder in one file, which is read as the folder is.

A zip archive of the two tables of `experiments.results.parquet`, the records of grids and
loopscope.json. It holds numbers and configs and no weights. Reading one writes nothing and runs
nothing: what does not belong in an archive makes it no archive.
"""

import io
import json
import re
import zipfile
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.errors import LoopscopeError
from experiments.machine import machine_memory
from experiments.results.parquet import (
    BUILD,
    INDEX,
    METRICS,
    TEXTS,
    Built,
    RunTables,
    build_tables,
    joined,
    read_table,
    write_table,
)
from experiments.results.records import is_name, points_of, whole_grid
from experiments.runs.json_files import LARGEST, parse_json, replacing
from experiments.runs.output import OUTPUT_FILE
from experiments.runs.schema_version import current, read_current, stamped
from experiments.text import bytes_text

GRID = re.compile(r"grids/([^/\\]+)\.json")
#: bytes that any archive may unpack to, and by how much a larger one may be packed: ours are by 4
#: to 14, and what is packed much better holds no results
MOST, RATIO = 64 * 2**20, 200
#: bytes that any JSON file in it may unpack to; a larger one is bounded by `RATIO` too
MOST_JSON = 2**20
#: moment that every member is dated, so that equal results are equal files
MOMENT = (1980, 1, 1, 0, 0, 0)


def is_archive(path: Path) -> bool:
    return path.is_file()


def write_archive(
    out: Path, file: Path, only: Container[str] | None = None, add: Sequence[Path] = ()
) -> Built:
    """Writes the results in `out` to one file, as a whole, without records that are damaged.

    Args:
        only: ids of the runs in `out` that go in; None: all.
        add: archives whose runs and grids go in too, as far as `out` does not have them.

    Raises:
        LoopscopeError: one of `add` is no archive; or `file` exists and is no archive, which is
            left alone, or is where another file of the results has its place.
        OSError: it cannot be written.
    """
    if file.is_dir():
        raise LoopscopeError(f"{file} is a folder; name a file, such as {file / 'results.zip'}")
    if file.name in (INDEX, METRICS, OUTPUT_FILE):
        raise LoopscopeError(f"{file} would be taken for another file; name it results.zip, say")
    if file.exists():
        try:
            read_archive(file)
        except LoopscopeError as error:
            raise LoopscopeError(
                f"{file} exists and is not replaced, since it is no archive of results: {error}"
            ) from error
    others = [read_archive(path) for path in add]
    built = build_tables(out, only)
    if others:
        built = replace(built, tables=joined([built.tables, *(tables for tables, _ in others)]))
    grids, problems = _grids(out, [known for _, known in others])
    with replacing(file) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, OUTPUT_FILE, json.dumps(stamped({})).encode())
        for name, table in ((INDEX, built.tables.runs), (METRICS, built.tables.lines)):
            content = io.BytesIO()
            write_table(table, content)
            _add(archive, name, content.getvalue())
        for name, content in sorted(grids.items()):
            _add(archive, f"grids/{name}.json", content)
    return replace(built, problems=(*built.problems, *problems))


def _grids(
    out: Path, others: Sequence[dict[str, dict[str, Any] | None]]
) -> tuple[dict[str, bytes], list[str]]:
    """Name -> record of the grids of a folder and of archives, the folder's first; and problems."""
    found, problems = dict[str, bytes](), list[str]()
    for known in reversed(others):
        found |= {name: json.dumps(of, indent=1).encode() for name, of in known.items() if of}
    for path in sorted(out.glob("grids/*.json")):
        record = whole_grid(read_current(path, "grid.json"))
        try:
            points_of(path.stem, record, path)
        except LoopscopeError as error:
            problems.append(f"the archive lacks a record of a grid: {error}")
        else:
            found[path.stem] = path.read_bytes()
    return found, problems


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, MOMENT), content, zipfile.ZIP_DEFLATED)


def read_archive(path: Path) -> tuple[RunTables, dict[str, dict[str, Any] | None]]:
    """The tables in an archive, and name -> record of its grids.

    Raises:
        LoopscopeError: it is damaged, of a newer version, or holds what no archive of ours does.
    """
    try:
        return _read(path)
    # RuntimeError: zipfile's for what is encrypted, and with RecursionError json's for what is deep
    except (ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise LoopscopeError(
            f"{path} is no archive of results ({error}); `loopscope archive OUT` makes one"
        ) from error


def _read(path: Path) -> tuple[RunTables, dict[str, dict[str, Any] | None]]:
    with zipfile.ZipFile(path) as archive:
        most = min(MOST + RATIO * path.stat().st_size, machine_memory())
        _check_members(archive, most)
        current(parse_json(archive.read(OUTPUT_FILE)), f"{path}/{OUTPUT_FILE}", OUTPUT_FILE)
        runs, lines = (
            read_table(io.BytesIO(archive.read(name)), f"{path}/{name}", columns, most)
            for name, columns in (
                (INDEX, ("run_id", "status", *TEXTS, "stamp")),
                (METRICS, ("run_id", "line")),
            )
        )
        if runs.schema.metadata[BUILD] != lines.schema.metadata.get(BUILD):
            raise ValueError(f"{INDEX} and {METRICS} are not of one archive")
        grids = {}
        for name in archive.namelist():
            if found := GRID.fullmatch(name):
                record = parse_json(archive.read(name))
                grids[found[1]] = whole_grid(current(record, f"{path}/{name}", "grid.json"))
    tables = RunTables(runs, lines)
    for run_id in tables.run_ids:
        if run_id is None or not is_name(run_id):
            raise ValueError(f"{run_id!r} is no run id")
    return tables, dict(sorted(grids.items()))


def _check_members(archive: zipfile.ZipFile, most: int) -> None:
    """Raises ValueError for what no archive of ours holds, or for more bytes than `most`."""
    names = archive.namelist()
    if missing := {OUTPUT_FILE, INDEX, METRICS} - set(names):
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    for name in names:
        if name not in (OUTPUT_FILE, INDEX, METRICS) and not GRID.fullmatch(name):
            raise ValueError(f"it holds {name!r}")
    if len(set(names)) < len(names):
        raise ValueError("it holds a file twice")
    for member in archive.infolist():
        fair = min(LARGEST, MOST_JSON + RATIO * member.compress_size)
        if member.filename.endswith(".json") and member.file_size > fair:
            size = bytes_text(member.file_size)
            raise ValueError(f"{member.filename} unpacks to {size}, more than {bytes_text(fair)}")
    if (size := sum(i.file_size for i in archive.infolist())) > most:
        raise ValueError(f"it unpacks to {bytes_text(size)}, more than {bytes_text(most)}")
