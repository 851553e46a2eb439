"""Index and archive give the numbers of the folders, and never those of yesterday."""

import io
import json
import os
import shutil
import time
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal
from synthetic_results import accuracies, bits, config, write_run, write_toy

from experiments import versions
from experiments.archive import read_archive, write_archive
from experiments.errors import LoopscopeError
from experiments.figures import draw
from experiments.files import write_json
from experiments.index import INDEX, METRICS, build_index, stamp_of, write_index
from experiments.results import load_curves, load_runs, read_from
from experiments.store import RunFolder, Status
from experiments.summary import where
from experiments.table import markdown_table
from experiments.versions import current, read_current, stamped


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Done runs, one that failed, one outside every grid, one with nan and torn metrics."""
    out = write_toy(tmp_path / "runs", seeds=1)
    write_run(out, "failed", config("multihop", 4, 5), metrics=[{"step": 5, "loss": 2.0}])
    RunFolder(out / "failed").fail("the loss is nan\nat step 120")
    odd = [{"step": 10, "loss": float("nan"), "exit.1": 0.5}, {"step": 20, "loss": 1}]
    write_run(out, "loose", config("bios", 1, 7), bits(1, 1 / 3), exposures=50, metrics=odd)
    RunFolder(out / "loose").write_status(Status(state="done", step=20, reason="“ünïcode”"))
    return out


def frames(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return load_runs(path), load_curves(path)


def same(first: tuple[pd.DataFrame, ...], second: tuple[pd.DataFrame, ...]) -> None:
    for one, other in zip(first, second, strict=True):
        assert len(one) > 10
        one, other = one.copy(), other.copy()
        one.attrs, other.attrs = {}, {}  # what was read is another matter
        assert_frame_equal(one, other, check_exact=True)


def test_the_index_gives_the_frames_of_the_folders(out: Path) -> None:
    before = frames(out)
    assert before[0].attrs["read_from"] == f"{out}: 11 runs read from their folders"
    built = write_index(out)
    assert built.problems == ()
    after = frames(out)
    same(before, after)
    told = f"{out}: 10 runs read from index.parquet, 1 run read from their folders"
    assert after[0].attrs["read_from"] == after[1].attrs["read_from"] == told
    assert read_from(out, "toy") == f"{out}: 9 runs read from index.parquet"
    assert not [p for p in out.iterdir() if p.name.endswith(".tmp")]


def test_what_is_in_the_index_is_not_read_again(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A control: the frames above are those of the index and not of the folders."""
    write_index(out)
    read: list[str] = []
    whole, lines = RunFolder.result, RunFolder.read_metrics
    monkeypatch.setattr(RunFolder, "result", lambda f: (read.append(f.run_id), whole(f))[1])
    monkeypatch.setattr(RunFolder, "read_metrics", lambda f: (read.append(f.run_id), lines(f))[1])
    frames(out)
    assert set(read) == {"failed"}


def test_a_run_that_changed_since_is_read_from_its_folder(out: Path) -> None:
    write_index(out)
    write_run(out, "later", config("bios", 2, 3), bits(2, 2.5))
    folder = RunFolder(out / "functions-1x4-0")
    result = folder.result()
    assert result is not None
    folder.write_result({**result, "measurements": accuracies(4, {2: 0.123}, 0.1)})
    RunFolder(out / "loose").append_metrics({"step": 30, "loss": 0.25})
    (out / "capacity-1x1-0" / "result.json").unlink()
    shutil.rmtree(out / "capacity-1x2-0")
    after = frames(out)
    changed = where(after[0], run_id="functions-1x4-0", loop=4)
    assert changed["value"].tolist() == [0.123]
    assert where(after[1], run_id="loose", step=30)["value"].tolist() == [0.25]
    assert set(where(after[0], run_id="capacity-1x1-0")["status"]) == {"missing"}
    assert set(where(after[0], run_id="capacity-1x2-0")["status"]) == {"missing"}
    assert "6 runs read from index.parquet, 6 runs" in after[0].attrs["read_from"]
    for name in (INDEX, METRICS):
        (out / name).unlink()
    same(after, frames(out))


def test_a_stamp_changes_with_size_and_time(out: Path) -> None:
    path = out / "loose"
    stamps = [stamp_of(path)]
    status = path / "status.json"
    text = status.read_bytes()
    status.write_bytes(text.replace(b"done", b"gone"))  # as long as before
    os.utime(status, ns=(0, status.stat().st_mtime_ns + 1))
    stamps.append(stamp_of(path))
    status.unlink()
    stamps.append(stamp_of(path))
    (path / "log.txt").write_text("results are not read from here")
    assert len(set(stamps)) == 3 and stamp_of(path) == stamps[-1]


@pytest.mark.parametrize("torn", [b'{"step": 30, "lo', b'{"step": 30}', b"\x00\xff\n", b"[1]\n"])
def test_torn_lines_are_left_out_and_reported(out: Path, torn: bytes) -> None:
    before = frames(out)
    with RunFolder(out / "loose").metrics_path.open("ab") as file:
        file.write(torn)
    built = write_index(out)
    (message,) = built.problems
    assert message == "loose/metrics.jsonl is torn after 2 lines: what follows is left out"
    same(before, frames(out))


def test_damaged_files_are_reported_and_cost_no_other_run_its_rows(out: Path) -> None:
    (out / "loose" / "result.json").write_text('{"run_id": "loose", "meas')
    (out / "failed" / "config.json").write_text("{")
    before = frames(out)
    built = write_index(out)
    assert sorted(built.problems) == [
        "failed/config.json could not be read",
        "loose/result.json could not be read: the run counts as not done",
    ]
    same(before, frames(out))


@pytest.mark.parametrize("name", [INDEX, METRICS])
@pytest.mark.parametrize("damage", ["truncated", "missing", "foreign", "newer", "of another time"])
def test_an_index_that_cannot_be_used_is_not(out: Path, name: str, damage: str) -> None:
    before = frames(out)
    if damage == "of another time":
        write_index(out)
        older = (out / name).read_bytes()
        write_run(out, "later", config("bios", 2, 3))
        before = frames(out)
        write_index(out)
        (out / name).write_bytes(older)
    else:
        write_index(out)
    path = out / name
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "missing":
        path.unlink()
    elif damage == "foreign":
        pq.write_table(pa.table({"run_id": ["a"]}), path)
    elif damage == "newer":
        table = pq.read_table(path)
        newer = {**table.schema.metadata, b"loopscope.schema_version": b"99"}
        pq.write_table(table.replace_schema_metadata(newer), path)
    after = frames(out)
    same(before, after)
    told = after[0].attrs["read_from"]
    assert "from index.parquet" not in told
    assert (damage, name) == ("missing", INDEX) or f"`loopscope index {out}` makes" in told


def test_many_runs_are_indexed_in_little_time(tmp_path: Path) -> None:
    """A tenth of the 2,000 runs with 100 lines that are to take less than 5 s."""
    run = json.dumps(config("multihop", 4, 0))
    lines = [{"step": s, "loss": 3 / s, "lr": 1e-3, "tokens": s} for s in range(1, 101)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    for i in range(200):
        folder = tmp_path / f"multihop-1x4-{i:012x}"
        folder.mkdir()
        result = {"run_id": folder.name, "measurements": accuracies(4, {2: 0.5}, 0.1)}
        (folder / "config.json").write_text(run)
        (folder / "metrics.jsonl").write_text(text)
        (folder / "result.json").write_text(json.dumps(result))
    build_index(tmp_path)
    start = time.process_time()
    built = write_index(tmp_path)
    assert time.process_time() - start < 0.5
    assert (built.index.runs.num_rows, built.index.lines.num_rows) == (200, 20_000)


# --- archives --------------------------------------------------------------------------------


def test_an_archive_is_read_as_its_folder_is(out: Path, tmp_path: Path) -> None:
    before, table = frames(out), markdown_table(out, "toy")
    file = tmp_path / "elsewhere.zip"
    built = write_archive(out, file)
    assert built.index.runs.num_rows == 11
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
    built = build_index(out)
    values = built.index.runs[column].to_pylist()
    i = built.index.runs.column_names.index(column)
    changed = pa.array([value, *values[1:]], pa.string())
    table = built.index.runs.set_column(i, column, changed)
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


# --- versions --------------------------------------------------------------------------------


def test_every_file_says_its_version(out: Path) -> None:
    names = ["loopscope.json", "grids/toy.json", "loose/result.json", "loose/status.json"]
    for name in names:
        assert json.loads((out / name).read_text())["schema_version"] == 1, name
    first = (out / "loose" / "metrics.jsonl").read_text().splitlines()[0]
    assert json.loads(first) == {"schema_version": 1}
    write_index(out)
    for name in (INDEX, METRICS):
        assert pq.read_schema(out / name).metadata[b"loopscope.schema_version"] == b"1"


@pytest.mark.parametrize("name", ["config", "result", "status", "metrics", "grid", "folder"])
def test_a_newer_file_is_one_message(out: Path, name: str) -> None:
    path = {
        "metrics": out / "loose" / "metrics.jsonl",
        "grid": out / "grids" / "toy.json",
        "folder": out / "loopscope.json",
    }.get(name, out / "loose" / f"{name}.json")
    path.write_text('{"schema_version": 2}\n')
    with pytest.raises(LoopscopeError, match="says schema version 2, this loopscope knows"):
        frames(out)
    path.write_text('{"schema_version": "x"}\n')
    if name not in ("metrics", "grid"):
        frames(out)  # damage is no version


def test_older_versions_go_through_their_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"run": "a"})
    monkeypatch.setattr(versions, "SCHEMA_VERSION", 3)
    with pytest.raises(LoopscopeError, match="of schema version 1, which this loopscope"):
        read_current(path)
    readers = {
        ("result.json", 1): lambda d: {"run_id": d["run"]},
        ("result.json", 2): lambda d: {**d, "measurements": []},
    }
    monkeypatch.setattr(versions, "READERS", readers)
    assert read_current(path) == {"run_id": "a", "measurements": []}
    write_json(path, {"schema_version": 2, "run_id": "b"})
    assert read_current(path) == {"run_id": "b", "measurements": []}
    assert stamped({"x": 1}) == {"schema_version": 3, "x": 1}
    assert current(stamped({"x": 1}), path, "result.json") == {"x": 1}


def test_the_registry_reads_every_older_version() -> None:
    kinds = {kind for kind, _ in versions.READERS}
    for kind in kinds:
        known = sorted(version for k, version in versions.READERS if k == kind)
        assert known == list(range(known[0], versions.SCHEMA_VERSION)), kind
