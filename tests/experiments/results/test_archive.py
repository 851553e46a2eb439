"""An archive is read as its folder is, and what is none is a message."""

import io
import shutil
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_results import (
    frames,
    same,
    write_mixed,
)

from experiments.analysis.figures import draw
from experiments.analysis.tables.tables import markdown_table
from experiments.errors import LoopscopeError
from experiments.results.archive import read_archive, write_archive
from experiments.results.long_table import load_runs
from experiments.results.parquet import INDEX, build_tables


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_mixed(tmp_path / "runs")


def test_an_archive_is_read_as_its_folder_is(out: Path, tmp_path: Path) -> None:
    before, table = frames(out), markdown_table(out, "toy")
    file = tmp_path / "elsewhere.zip"
    built = write_archive(out, file)
    assert built.tables.runs.num_rows == 11
    kept = file.read_bytes()
    write_archive(out, file)
    assert file.read_bytes() == kept, "equal results are equal files"
    shutil.rmtree(out)
    same(before, frames(file))
    assert load_runs(file, "toy").attrs["read_from"] == f"{file}: 9 runs read from the archive"
    assert markdown_table(file, "toy") == table
    png, *_ = draw("accuracy_versus_loops", file, "toy", part="functions")
    assert png.parent == tmp_path / "figures" and png.exists()
    with pytest.raises(LoopscopeError, match="no results of a grid 'tyo'; it has toy"):
        load_runs(file, "tyo")


def test_archives_of_two_machines_become_one(out: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.zip"
    write_archive(out, whole)
    before, ids = frames(whole), sorted(load_runs(out)["run_id"].unique())
    assert len(ids) == 11
    part, both = tmp_path / "part.zip", tmp_path / "both.zip"
    write_archive(out, part, set(ids[::2]))
    for run_id in ids[::2]:
        shutil.rmtree(out / run_id)
    assert not load_runs(out).equals(load_runs(whole)), "the folder alone is not all"
    built = write_archive(out, both, add=[part])
    same(before, frames(both))
    assert built.tables.run_ids == ids
    # one that is not done gives way to one that is, wherever it comes from; what is given is kept
    done = next(p.parent for p in sorted(out.glob("*/result.json")))
    (done / "result.json").unlink()
    write_archive(out, both, add=[part])
    states = load_runs(both).set_index("run_id")["status"]
    assert states.loc[done.name] != "done", "here it is not done: one row, without a value"
    write_archive(out, part, add=[part, whole])
    same(before, frames(part))
    for path in (out / "grids").iterdir():
        path.unlink()
    write_archive(out, both, add=[part])
    same(before, frames(both))
    (tmp_path / "thesis.zip").write_text("years of work")
    with pytest.raises(LoopscopeError, match="thesis.zip is no archive of results"):
        write_archive(out, both, add=[tmp_path / "thesis.zip"])
    same(before, frames(both))


def test_a_file_that_is_no_archive_is_not_replaced(out: Path, tmp_path: Path) -> None:
    file = tmp_path / "thesis.zip"
    file.write_text("years of work")
    with pytest.raises(LoopscopeError, match="thesis.zip exists and is not replaced"):
        write_archive(out, file)
    assert file.read_text() == "years of work"


def test_an_archive_has_a_place_of_its_own(out: Path, tmp_path: Path) -> None:
    with pytest.raises(LoopscopeError, match="is a folder; name a file"):
        write_archive(out, out)
    with pytest.raises(LoopscopeError, match="would be taken for another file"):
        write_archive(out, out / INDEX)
    assert not (out / INDEX).exists()
    nowhere = tmp_path / "nowhere" / "x.zip"
    with pytest.raises(FileNotFoundError) as error:
        write_archive(out, nowhere)
    assert error.value.filename == str(nowhere)


def test_an_encrypted_archive_is_a_message(out: Path, tmp_path: Path) -> None:
    file = tmp_path / "secret.zip"
    write_archive(out, file)
    content = bytearray(file.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # bit 0 of the flags
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            content[at + offset] |= 1
    file.write_bytes(content)
    with pytest.raises(LoopscopeError, match="is no archive of results.*encrypted"):
        read_archive(file)


def rewritten(file: Path, changes: dict[str, bytes | None]) -> None:
    """Adds members to an archive, replaces them or (None) leaves them out."""
    with zipfile.ZipFile(file) as archive:
        kept: dict[str, bytes | None] = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {**kept, **changes}.items():
            if content is not None:
                archive.writestr(name, content)


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("../../evil.json", b"{}", r"it holds '\.\./\.\./evil\.json'"),
        ("/etc/passwd", b"", "it holds '/etc/passwd'"),
        ("grids/../../evil.json", b"{}", "it holds 'grids/../../evil.json'"),
        ("grids/a\\..\\b.json", b"{}", "it holds"),
        ("payload.pkl", b"cos\nsystem\n(S'true'\ntR.", "it holds 'payload.pkl'"),
        ("loopscope.json", b'{"schema_version": 99}', "schema version 99, this loopscope knows"),
        ("loopscope.json", b"[1]", "should hold a mapping"),
        ("loopscope.json", b"{", "is no archive of results"),
        ("loopscope.json", None, "is no archive of results"),
        ("metrics.parquet", None, r"it lacks metrics\.parquet"),
        ("loopscope.json", b"[" * 100_000, "is no archive of results"),
        ("index.parquet", b"PAR1", "index.parquet cannot be read"),
        ("index.parquet", parquet(pa.table({"run_id": ["a"]})), "was not written by loopscope"),
        ("grids/toy.json", b'{"schema_version": 99}', "schema version 99"),
        ("grids/toy.json", b'{"points": 3}', r"toy\.json is damaged"),
        (
            "grids/toy.json",
            b'{"points": [{"run_id": "../../x", "part": "", "labels": {}}]}',
            r"'\.\./\.\./x' is no run id",
        ),
    ],
)  # fmt: skip
def test_a_hostile_archive_is_a_message(
    out: Path, tmp_path: Path, name: str, text: bytes | None, message: str
) -> None:
    file = tmp_path / "hostile.zip"
    write_archive(out, file)
    rewritten(file, {name: text})
    there = sorted(tmp_path.rglob("*"))
    with pytest.raises(LoopscopeError, match=message):
        load_runs(file)
    assert sorted(tmp_path.rglob("*")) == there, "nothing was written"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("run_id", "../up", "'../up' is no run id"),
        ("run_id", None, "None is no run id"),
        ("config", "{", "is damaged"),
        ("config", None, "is damaged"),
        ("result", '{"measurements": [3]}', "is damaged"),
        ("progress", "[]", "is damaged"),
    ],
)
def test_hostile_rows_are_a_message(
    out: Path, tmp_path: Path, column: str, value: str | None, message: str
) -> None:
    file = tmp_path / "hostile.zip"
    built = build_tables(out)
    values = built.tables.runs[column].to_pylist()
    i = built.tables.runs.column_names.index(column)
    changed = pa.array([value, *values[1:]], pa.string())
    table = built.tables.runs.set_column(i, column, changed)
    write_archive(out, file)
    rewritten(file, {INDEX: parquet(table)})
    with pytest.raises(LoopscopeError, match=message):
        load_runs(file)


def test_what_unpacks_to_more_than_memory_is_not_unpacked(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bomb.zip"
    write_archive(out, file)
    monkeypatch.setenv("LOOPSCOPE_MEMORY", "10k")
    with pytest.raises(LoopscopeError, match="unpacks to"):
        read_archive(file)
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(LoopscopeError, match="is no archive of results"):
        read_archive(file)
