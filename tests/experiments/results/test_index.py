"""An index gives the numbers of the folders, and never those of yesterday."""

import json
import os
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_results import (
    accuracies,
    bits,
    config,
    frames,
    same,
    write_mixed,
    write_run,
)

from experiments.results.index import INDEX, METRICS, build_index, stamp_of, write_index
from experiments.results.long_table import read_from
from experiments.results.selection import where
from experiments.runs.folder import RunFolder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_mixed(tmp_path / "runs")


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
