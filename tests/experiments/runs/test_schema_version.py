"""Every file says its version; older ones go through readers, newer ones are a message."""

from pathlib import Path

import pytest
from synthetic_results import (
    frames,
    write_mixed,
)

from experiments.errors import LoopscopeError
from experiments.runs import schema_version
from experiments.runs.json_files import write_json
from experiments.runs.schema_version import current, read_current, stamped


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_mixed(tmp_path / "runs")


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
    monkeypatch.setattr(schema_version, "SCHEMA_VERSION", 3)
    with pytest.raises(LoopscopeError, match="of schema version 1, which this loopscope"):
        read_current(path)
    readers = {
        ("result.json", 1): lambda d: {"run_id": d["run"]},
        ("result.json", 2): lambda d: {**d, "measurements": []},
    }
    monkeypatch.setattr(schema_version, "READERS", readers)
    assert read_current(path) == {"run_id": "a", "measurements": []}
    write_json(path, {"schema_version": 2, "run_id": "b"})
    assert read_current(path) == {"run_id": "b", "measurements": []}
    assert stamped({"x": 1}) == {"schema_version": 3, "x": 1}
    assert current(stamped({"x": 1}), path, "result.json") == {"x": 1}


def test_the_registry_reads_every_older_version() -> None:
    kinds = {kind for kind, _ in schema_version.READERS}
    for kind in kinds:
        known = sorted(version for k, version in schema_version.READERS if k == kind)
        assert known == list(range(known[0], schema_version.SCHEMA_VERSION)), kind
