"""Files of finished runs whose values are of other types than were written: never a traceback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import write_toy

from experiments.results.long_table import load_curves, load_runs
from experiments.results.parquet import build_tables
from experiments.runs.folder import RunFolder
from experiments.runs.record_checks import is_line, is_whole
from experiments.runs.repair import cut_metrics

RUN = "capacity-1x2-0"
ODD: tuple[Any, ...] = ([1], {}, "x", True, 1.5, 2**63, 10**400)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(write_toy(tmp_path / "runs", seeds=1) / RUN)


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads(path.read_text())
    edit(data)
    data.pop("checksum", None)  # of a file of before there were any
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["difficulty", "loop", "n_items"])
def test_a_measurement_that_cannot_be_a_row_is_a_damaged_result(
    folder: RunFolder, name: str, odd: Any
) -> None:
    assert folder.state() == "done"
    change(folder.path / "result.json", lambda r: r["measurements"][0].update({name: odd}))
    assert folder.result() is None
    rows = load_runs(folder.path.parent)
    assert RUN not in set(rows.loc[rows["status"] == "done", "run_id"])


@pytest.mark.parametrize("odd", [[1], {}, "x", True, 10**400])
def test_numbers_of_a_result(odd: Any) -> None:
    rows = [{"metric": "accuracy", "value": 1.0, "difficulty": 2}]
    whole = {"measurements": rows, "train_flops": 10**25, "parameters": {"total": 5}}
    assert is_whole(whole) and is_whole({**whole, "exposures": None})
    assert not is_whole({**whole, "train_flops": odd})
    assert not is_whole({**whole, "parameters": {"total": odd}})
    assert not is_whole({**whole, "components": {"a": {"exposures": odd}}})
    assert not is_whole({**whole, "measurements": [{"metric": "accuracy", "value": odd}]})


@pytest.mark.parametrize("part", ["parameters", "timings", "components", "measurements"])
def test_parts_of_a_result_that_are_none(folder: RunFolder, part: str) -> None:
    change(folder.path / "result.json", lambda r: r.update({part: 3}))
    assert folder.result() is None and not load_runs(folder.path.parent).empty


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ({"step": 2, "loss": 0.5, "loss.1": 0.4, "measurements": [{"metric": "m"}]}, True),
        ({"step": 2, "growth": {"loss_before": 1.0}}, True),
        ({"step": 2, "growth": {"from": "1⊗4", "mapping": [0, 0], "loss_after": 1.0}}, True),
        ({"step": 2, "cpu_seconds": 1.5, "measurements": [{"metric": "m"}]}, True),
        ({"step": 2, "cpu_seconds": "x", "measurements": []}, False),
        ({"step": "2"}, False),
        ({"step": None}, False),
        ({"step": 2, "loss": [1]}, False),
        ({"step": 2, "exit.3": "x"}, False),
        ({"step": 2, "measurements": {}}, False),
        ({"step": 2, "measurements": [1e308]}, False),
        ({"step": 2, "measurements": [{"metric": "m", "loop": 1.5}]}, False),
        ({"step": 2, "growth": {"loss_before": "x"}}, False),
    ],
)
def test_lines_of_metrics(folder: RunFolder, line: dict[str, Any], good: bool) -> None:
    assert is_line(line) == good
    folder.append_metrics({"step": 1, "loss": 1.0})
    folder.append_metrics(line)
    assert [found["step"] for found in folder.metrics()] == ([1, 2] if good else [1])
    curves = load_curves(folder.path.parent)
    assert set(curves.loc[curves["run_id"] == RUN, "step"]) == ({1, 2} if good else set())
    problems = build_tables(folder.path.parent).problems
    assert any("metrics.jsonl" in problem for problem in problems) != good


@pytest.mark.parametrize("version", [None, [1], "x", {}])
def test_a_first_line_without_a_version(folder: RunFolder, version: Any) -> None:
    folder.metrics_path.write_text(json.dumps({"schema_version": version}) + '\n{"step": 1}\n')
    assert folder.metrics() == []
    assert not folder.read_metrics()[1]
    assert "1 torn line" in cut_metrics(folder, 1)[0]
    assert [line["step"] for line in folder.metrics()] == [1]


@pytest.mark.parametrize("odd", [[1], {}, "x", None])
@pytest.mark.parametrize("name", ["core", "loops", "width"])
def test_a_config_that_cannot_be_columns(folder: RunFolder, name: str, odd: Any) -> None:
    change(folder.path / "config.json", lambda c: c["model"].update({name: odd}))
    rows = load_runs(folder.path.parent)
    assert rows.loc[rows["run_id"] == RUN, "width"].isna().all()


def test_half_a_surrogate_pair_is_no_text(folder: RunFolder) -> None:
    change(folder.path / "result.json", lambda r: r["measurements"][0].update(item="\ud800"))
    assert folder.result() is None and not load_runs(folder.path.parent).empty
    change(folder.path / "result.json", lambda r: r["measurements"][0].update(item="é"))
    change(folder.path / "result.json", lambda r: r.update(note="\ud800"))
    assert folder.result() is not None, "nothing is made of it"
    assert build_tables(folder.path.parent).tables.runs.num_rows
