"""Run folders and locks: what is on the disk decides, and damage is found, named and set aside."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from experiments.config.phases import Phase, Training
from experiments.config.run import Observe, RunConfig
from experiments.errors import LoopscopeError
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import read_json, write_json
from experiments.runs.lock import STALE_AFTER, RunLock
from experiments.runs.output import (
    check_output,
    find_run,
    prepare_output,
    record_grid,
    run_folders,
)
from experiments.runs.repair import cut_metrics, repair
from experiments.runs.status import Status
from generators.multihop import MultiHop
from models.config import LoopedConfig
from models.objectives.entropy import Entropy


def config(seed: int = 0, **changes: object) -> RunConfig:
    fields = {
        "task": MultiHop(entities=8, relations=4, hops=2),
        "model": LoopedConfig(width=16, heads=2, loops=2),
        "training": Training(batch=32, phases=(Phase(until_step=10),)),
        "observe": Observe(probes=()),
        "seed": seed,
    }
    return RunConfig.model_validate(fields | changes)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    frozen = RunFolder(tmp_path / config().run_id)
    frozen.freeze(config())
    return frozen


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"half": 1, "not json": object()})
    assert read_json(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_config_freezes_at_the_first_asking(folder: RunFolder) -> None:
    folder.freeze(config(observe=Observe(probes=(), log_every=7)))
    assert folder.config() == config()
    assert folder.config().run_id == folder.run_id


def test_the_frozen_config_is_the_canonical_one(tmp_path: Path) -> None:
    one_loop = config(model=LoopedConfig(width=16, heads=2), objective=Entropy())
    frozen = RunFolder(tmp_path / one_loop.run_id)
    frozen.freeze(one_loop)
    assert frozen.config().objective.kind == "last_loop"
    assert frozen.config().run_id == frozen.run_id


def test_an_unreadable_config_is_an_error_for_people(folder: RunFolder) -> None:
    (folder.path / "config.json").write_text('{"task": ')
    with pytest.raises(LoopscopeError, match="config.json is missing or unreadable"):
        folder.config()
    (folder.path / "config.json").write_text('{"task": {"kind": "multihop"}}')
    with pytest.raises(LoopscopeError, match="does not fit this version"):
        folder.config()


def test_state_follows_the_files(folder: RunFolder) -> None:
    assert RunFolder(folder.path.parent / "nothing").state() == "missing"
    assert folder.state() == "missing"
    folder.write_status(Status(state="stopped", step=3, last_step=10))
    assert folder.state() == "resumable"
    folder.fail("loss is nan")
    status = folder.status()
    assert folder.state() == "failed"
    assert status is not None and (status.step, status.reason) == (3, "loss is nan")
    lock = RunLock.acquire(folder.lock_path)
    assert lock is not None and folder.state() == "running"
    lock.release()
    folder.write_result({"run_id": folder.run_id, "measurements": []})
    assert folder.state() == "done"


def test_a_checkpoint_alone_makes_a_run_resumable(folder: RunFolder) -> None:
    folder.checkpoint_path.write_bytes(b"")
    assert folder.state() == "resumable"


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"run_id": ',
        "[]",
        '{"run_id": "another"}',
        '{"run_id": "ID"}',
        '{"run_id": "ID", "measurements": 5}',
        '{"run_id": "ID", "measurements": [1]}',
        '{"run_id": "ID", "measurements": [{}]}',
    ],
)
def test_a_damaged_result_is_no_result_and_is_set_aside(folder: RunFolder, text: str) -> None:
    text = text.replace("ID", folder.run_id)
    folder.write_status(Status(state="done", step=10, last_step=10))
    (folder.path / "result.json").write_text(text)
    assert folder.result() is None and folder.state() == "resumable"
    (message,) = repair(folder)
    assert f"{folder.run_id}/result.json" in message and "result.json.corrupt" in message
    assert (folder.path / "result.json.corrupt").read_text() == text
    assert message in (folder.path / "log.txt").read_text()
    assert repair(folder) == []


def test_repair_leaves_good_files_alone(folder: RunFolder) -> None:
    folder.write_status(Status(state="done"))
    folder.write_result({"run_id": folder.run_id, "measurements": []})
    assert repair(folder) == []
    assert folder.state() == "done"


def test_a_damaged_status_is_set_aside(folder: RunFolder) -> None:
    (folder.path / "status.json").write_text('{"state": "sleeping"}')
    assert folder.status() is None
    assert "status.json" in repair(folder)[0]


def test_a_torn_last_line_is_left_out_and_cut(folder: RunFolder) -> None:
    for step in (10, 20, 30):
        folder.append_metrics({"step": step, "loss": 1 / step})
    with folder.metrics_path.open("a") as file:
        file.write('{"step": 40, "lo')
    assert [line["step"] for line in folder.metrics()] == [10, 20, 30]
    cut_metrics(folder, 20)
    assert folder.metrics_path.read_text().endswith('"step": 20, "loss": 0.05}\n')
    folder.append_metrics({"step": 30})
    assert [line["step"] for line in folder.metrics()] == [10, 20, 30]
    cut_metrics(folder, 0)
    assert folder.metrics_path.read_text() == '{"schema_version": 1}\n'


def test_output_folder_of_another_version_or_kind(tmp_path: Path) -> None:
    check_output(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists(), "checking makes nothing"
    prepare_output(tmp_path / "new" / "deep")
    check_output(tmp_path / "new" / "deep")
    write_json(tmp_path / "loopscope.json", {"schema_version": 99})
    with pytest.raises(LoopscopeError, match="schema version 99.*--out"):
        check_output(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(LoopscopeError, match="is a file"):
        check_output(tmp_path / "file" / "runs")


def test_output_folder_that_is_not_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LoopscopeError, match="/proc"):
        prepare_output(Path("/proc/loopscope"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(LoopscopeError, match="is not writable"):
        check_output(tmp_path / "runs")


def test_runs_are_found_by_the_start_of_their_id(tmp_path: Path) -> None:
    ids = [config(seed).run_id for seed in (0, 1)]
    for seed, run_id in enumerate(ids):
        RunFolder(tmp_path / run_id).freeze(config(seed))
    assert [f.run_id for f in run_folders(tmp_path)] == sorted(ids)
    assert find_run(tmp_path, ids[1][:-3]).run_id == ids[1]
    with pytest.raises(LoopscopeError, match="start of 2 runs"):
        find_run(tmp_path, "multihop")
    with pytest.raises(LoopscopeError, match="no run bios"):
        find_run(tmp_path, "bios")


def test_a_grid_is_recorded_and_replaced_by_its_edited_self(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    for ids in (["a"], ["a", "b"]):
        points = [{"run_id": i, "part": "", "labels": {}} for i in ids]
        record_grid(tmp_path, "g", title="G", figures=[{"kind": "plane"}], points=points)
    found = json.loads((tmp_path / "grids" / "g.json").read_text())
    assert [p["run_id"] for p in found["points"]] == ["a", "b"]
    assert found["figures"] == [{"kind": "plane"}]


def recorded(out: Path, file: Path | str, source: str, *ids: str) -> list[str]:
    """The runs in the record of grid g once a grid file has asked for it."""
    points = [{"run_id": i, "part": "", "labels": {}} for i in ids]
    record_grid(out, "g", title="", figures=[], points=points, source=source, file=str(file))
    return [p["run_id"] for p in json.loads((out / "grids" / "g.json").read_text())["points"]]


def test_another_grid_of_the_same_name_replaces_no_record(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    prepare_output(out)
    first, second = tmp_path / "a" / "g.yaml", tmp_path / "b" / "g.yaml"
    first.parent.mkdir()
    first.touch()
    assert recorded(out, first, "one", "a") == ["a"]
    before = (out / "grids" / "g.json").read_bytes()
    for place in (second, "shipped g.yaml"):
        for ids in (["a", "b"], ["b"]):
            with pytest.raises(LoopscopeError, match="Nothing was replaced: rename one") as told:
                recorded(out, place, "two", *ids)
            assert str(first) in str(told.value) and str(place) in str(told.value)
            assert "--out" in str(told.value)
    assert (out / "grids" / "g.json").read_bytes() == before
    assert recorded(out, second, "one", "a") == ["a"], "a copy is the same grid"


def test_an_edited_or_moved_grid_replaces_its_record(tmp_path: Path) -> None:
    out, file = tmp_path / "runs", tmp_path / "g.yaml"
    prepare_output(out)
    file.touch()
    assert recorded(out, file, "one", "a") == ["a"]
    assert recorded(out, file, "two", "a", "b") == ["a", "b"], "with more points"
    assert recorded(out, file, "three", "c", "d") == ["c", "d"], "with another baseline"
    file.unlink()
    with pytest.raises(LoopscopeError, match="another grid called g"):
        recorded(out, tmp_path / "new.yaml", "four", "e")
    assert recorded(out, tmp_path / "new.yaml", "four", "d", "e") == ["d", "e"], "moved"
    record_grid(out, "old", title="", figures=[], points=[], source="of an older version")
    record_grid(out, "old", title="", figures=[], points=[], source="new", file=str(file))


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    path = tmp_path / "claim.json"
    lock = RunLock.acquire(path)
    assert lock is not None and lock.beat()
    assert RunLock.is_held(path) and RunLock.acquire(path) is None
    lock.release()
    assert not RunLock.is_held(path)
    assert RunLock.acquire(path) is not None


def test_a_lock_without_heartbeat_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "claim.json"
    lost = RunLock.acquire(path)
    assert lost is not None
    then = path.stat().st_mtime - STALE_AFTER - 1
    os.utime(path, (then, then))
    taken = RunLock.acquire(path)
    assert taken is not None
    assert not lost.beat(), "its former holder is told"
    lost.release()
    assert taken.beat(), "and cannot release what is no longer its own"


def test_a_lock_of_a_dead_process_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "claim.json"
    assert RunLock.acquire(path) is not None
    owner = json.loads(path.read_text())
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    path.write_text(json.dumps(owner | {"pid": process.pid}))
    assert not RunLock.is_held(path)
    path.write_text(json.dumps(owner | {"pid": process.pid, "machine": "another"}))
    assert RunLock.is_held(path), "a process of another machine cannot be seen, only its heartbeat"


def test_of_many_who_find_a_stale_lock_one_gets_it(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / f"claim.{attempt}.json"
        path.write_text("{}")
        os.utime(path, (0, 0))
        together, found = threading.Barrier(8), []

        def take(path: Path = path, together=together, found=found) -> None:
            together.wait()
            found.append(RunLock.acquire(path))

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(lock is not None for lock in found) == 1


def test_a_config_of_another_run_is_told(folder: RunFolder) -> None:
    named = RunFolder(folder.path.parent / config().run_id)
    named.freeze(config())
    named.check_unedited(named.config())
    named.freeze(config(seed=1))
    named.check_unedited(named.config())
    with pytest.raises(LoopscopeError, match="was edited, remove it"):
        named.check_unedited(config(seed=1))


def test_metrics_without_a_step_are_left_out(folder: RunFolder) -> None:
    folder.metrics_path.write_text('{"a": 1}\n{"step": 2}\n')
    assert folder.metrics() == [{"step": 2}]


def test_names_of_files_that_are_no_text_can_be_told(folder: RunFolder) -> None:
    reason = "cannot read " + b"caf\xe9".decode("utf-8", "surrogateescape")
    folder.fail(reason)
    status = folder.status()
    assert status is not None and status.reason == "cannot read caf\\udce9"
    folder.log(reason)
    assert "caf\\udce9" in (folder.path / "log.txt").read_text(encoding="utf-8")
    folder.append_metrics({"step": 1, "why": reason})
    assert folder.metrics()[-1]["why"] == reason
