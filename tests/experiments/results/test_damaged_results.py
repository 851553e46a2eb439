"""Damaged results: the run is left out, and is told, counted and asked for with --strict."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import write_toy
from toys import config, toy, trained
from typer.testing import CliRunner, Result

from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.grid.grid import Grid
from experiments.results.archive import write_archive
from experiments.results.long_table import load_curves, load_runs, read_results
from experiments.results.removal import forget
from experiments.results.source import open_source
from experiments.runs import json_files
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import checksum, read_json, sealed, write_json
from experiments.runs.output import prepare_output, record_grid
from experiments.runs.schema_version import stamped

RUNS = [config(seed=seed) for seed in (0, 1)]
FIRST, SECOND = (run.run_id for run in RUNS)


def record(out: Path, grid: Grid) -> None:
    points = [{"run_id": p.run_id, "part": p.part, "labels": p.labels} for p in grid.points]
    record_grid(out, grid.name, title=grid.title, figures=[], points=points)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs of one cell and the record of their grid."""
    out = tmp_path_factory.mktemp("finished") / "runs"
    prepare_output(out)
    for run in RUNS:
        RunFolder(out / run.run_id).freeze(run)
        trained(out, run)
    record(out, toy(*RUNS))
    assert table(out, "--strict").exit_code == 0, "as a control: it is whole"
    return out


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "runs"))


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        data = json.loads(path.read_text(encoding="utf-8"))
        change(data)
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    return edit


def unsealed(path: Path) -> None:
    """As a version before there were checksums wrote it."""
    edited(
        lambda d: [d.pop(k, None) for k in ("checksum", "checksums", "metric_lines", "versions")]
    )(path)


def cut(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flipped(path: Path) -> None:
    text = path.read_bytes()
    at = text.index(b'"value": 0') + len(b'"value": ')
    path.write_bytes(text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :])


def table(out: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["table", str(out), *options])


#: file, damage, a part of what is said
DAMAGE: list[tuple[str, Callable[[Path], object], str]] = [
    ("config.json", lambda p: p.write_bytes(b""), "config.json is damaged"),
    ("config.json", halved, "config.json is damaged"),
    ("config.json", Path.unlink, "config.json is missing"),
    ("config.json", edited(lambda c: c["training"].update(lr=1.0)), "config.json is that of"),
    ("config.json", edited(lambda c: c.update(seed=7)), "config.json is that of"),
    ("config.json", edited(lambda c: c.update(seed="x")), "seed"),
    ("config.json", edited(lambda c: c["model"].pop("width")), "config.json is that of"),
    ("config.json", lambda p: shutil.copy(p.parent.parent / SECOND / p.name, p), "is that of"),
    ("result.json", halved, "result.json is damaged"),
    ("result.json", Path.unlink, "result.json is missing, and the run was done"),
    ("result.json", flipped, "it was edited, or the disk has damaged it"),
    ("result.json", edited(lambda r: r["measurements"][0].update(floor=float("-inf"))), "damage"),
    ("result.json", edited(lambda r: r.update(checksum="0" * 64)), "it was edited"),
    ("result.json", lambda p: shutil.copy(p.parent.parent / SECOND / p.name, p), "is that of"),
]


@pytest.mark.parametrize(("name", "damage", "said"), DAMAGE)
def test_a_damaged_run_is_left_out_told_and_counted(
    out: Path, tmp_path: Path, name: str, damage: Callable[[Path], object], said: str
) -> None:
    damage(out / FIRST / name)
    found = table(out, "--strict")
    assert found.exit_code == 1 and table(out).exit_code == 0
    (told,) = [line for line in found.stderr.splitlines() if "left out" in line]
    assert told.startswith(f"{FIRST} is left out: ") and said in told
    assert "Not done or damaged: 1 of 2 runs (1 damaged)" in found.stdout
    runs = load_runs(out)
    assert list(runs["run_id"][runs["status"] == "done"].unique()) == [SECOND]
    write_archive(out, tmp_path / "a.zip")
    from_archive = table(tmp_path / "a.zip", "--strict")
    assert from_archive.exit_code == 1 and told in from_archive.stderr
    assert from_archive.stdout == found.stdout


def test_an_edited_config_of_an_old_result_is_told_by_its_id(out: Path) -> None:
    unsealed(out / FIRST / "result.json")
    assert table(out, "--strict").exit_code == 0, "results without checksums are read"
    edited(lambda c: c["training"].update(lr=1.0))(out / FIRST / "config.json")
    assert f"{FIRST} is left out: config.json is that of" in table(out).stderr


def test_a_floor_of_no_number_is_damage_in_an_old_result_too(out: Path) -> None:
    unsealed(out / FIRST / "result.json")
    edited(lambda r: r["measurements"][0].update(floor=float("-inf")))(out / FIRST / "result.json")
    assert "result.json lacks numbers" in table(out).stderr


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("damage", [cut, flipped, halved, Path.unlink])
def test_lines_that_are_lost_cost_the_curves_of_a_run(
    out: Path, tmp_path: Path, damage: Callable[[Path], object], old: bool
) -> None:
    if old:
        unsealed(out / FIRST / "result.json")
    whole = load_curves(out)
    damage(out / FIRST / "metrics.jsonl")
    found = table(out, "--strict")
    if old and damage is not halved:  # nothing knows what was there
        assert found.exit_code == 0
        return
    told = f"what {FIRST} measured while it was trained is left out: metrics.jsonl"
    assert found.exit_code == 1 and told in found.stderr
    assert "Not done or damaged: 1 of 2 runs (1 damaged)" in found.stdout
    curves = load_curves(out)
    assert set(whole["run_id"]) == {FIRST, SECOND} and set(curves["run_id"]) == {SECOND}
    assert set(load_runs(out)["status"]) == {"done"}, "its final numbers are good"
    write_archive(out, tmp_path / "a.zip")
    assert told in table(tmp_path / "a.zip").stderr


def test_other_commands_tell_it_too(out: Path) -> None:
    halved(out / FIRST / "result.json")
    told = f"{FIRST} is left out: result.json is damaged"
    for words in (
        ["report"],
        ["figure", "learning_curves"],
        ["compare", "--claim", "capacity-equal"],
    ):
        found = CliRunner().invoke(app, [words[0], *words[1:], str(out), "--strict"])
        assert told in found.stderr and found.exit_code != 0, words


def test_how_json_is_laid_out_is_no_matter(out: Path) -> None:
    path = out / FIRST / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text())), encoding="utf-8")
    assert table(out, "--strict").exit_code == 0


def test_a_seal_holds_what_was_written_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    data = stamped({"é": [1.0, float("inf"), "\ud800"], "b": {"c": None}})
    write_json(path, sealed(data))
    found = read_json(path)
    assert found is not None and list(found) == list(data) and found["b"] == {"c": None}
    text = path.read_bytes()
    for i in range(len(text)):
        path.write_bytes(text[:i] + bytes([text[i] ^ 2]) + text[i + 1 :])
        read = read_json(path) or found
        assert [read.get(key) for key in found] == list(found.values()), text[i : i + 9]
    assert checksum({"a": 1, "b": 2}) == checksum({"b": 2, "a": 1}) != checksum({"a": 2, "b": 1})


# --- records of grids


def test_labels_that_were_renamed_are_damage(out: Path) -> None:
    path = out / "grids" / "toy.json"
    edited(lambda g: g["points"][0]["labels"].update(seed="5"))(path)
    with pytest.raises(LoopscopeError, match=r"toy\.json is damaged; `loopscope run`"):
        load_runs(out)
    record(out, toy(*RUNS))
    assert table(out, "--strict").exit_code == 0


def test_a_record_that_runs_were_taken_out_of_is_sealed(out: Path) -> None:
    forget(out, {FIRST})
    assert [p.run_id for p in open_source(out).points("toy")] == [SECOND]


@pytest.fixture(scope="module")
def toy_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = write_toy(tmp_path_factory.mktemp("toy") / "runs", seeds=1)
    assert table(out).exit_code == 0
    return out


@pytest.mark.parametrize(
    "odd",
    [["a"], {"a": 1}, 3, None, *(pytest.param(v, marks=pytest.mark.slow) for v in (1.5, True))],
)
@pytest.mark.parametrize(
    "where", ["label", "part", "run_id", "labels", "figures", "title", "point"]
)
def test_records_of_wrong_types_are_damaged(
    toy_results: Path, tmp_path: Path, where: str, odd: Any
) -> None:
    out = Path(shutil.copytree(toy_results, tmp_path / "runs"))

    def change(grid: dict[str, Any]) -> None:
        grid.pop("checksum")
        point = grid["points"][0]
        if where == "label":
            point["labels"]["seed"] = odd
        elif where in ("part", "run_id", "labels"):
            point[where] = odd
        elif where == "point":
            grid["points"][0] = odd
        else:
            grid[where] = odd

    edited(change)(out / "grids" / "toy.json")
    if (where, odd) == ("title", None):
        assert table(out).exit_code == 0, "a grid need not have one"
        return
    claim = ["compare", "--claim", "manipulation-better"]
    commands = [[*words, str(out)] for words in (["table"], ["report"], ["figure", "plane"], claim)]
    # all of them read it at one place
    for command in commands if odd == ["a"] else commands[:1]:
        found = CliRunner().invoke(app, command)
        assert isinstance(found.exception, LoopscopeError), (command, found.exception)
        assert "toy.json is damaged" in str(found.exception)


# --- sizes


def test_a_file_of_gigabytes_is_damage_and_is_not_read(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("result.json", "metrics.jsonl"):
        os.truncate(out / FIRST / name, 3 * 2**30)  # sparse
    monkeypatch.setattr(json_files, "LARGEST", 2**20)
    found = table(out)
    assert f"{FIRST} is left out: result.json is damaged (more than" in found.stderr
    assert read_results(out).runs["status"].isin(["done", "damaged"]).all()


@pytest.mark.parametrize("depth", [70, 400, 990, 100_000])
def test_configs_that_are_nested_deeply(out: Path, depth: int) -> None:
    path = out / FIRST / "config.json"
    nested = "[" * depth + "]" * depth
    path.write_text(path.read_text().replace('"seed": 0', f'"seed": {nested}'))
    found = table(out)
    assert f"{FIRST} is left out: config.json" in found.stderr
    assert CliRunner().invoke(app, ["diff", FIRST, SECOND, "--out", str(out)]).exit_code in (0, 1)


@pytest.mark.parametrize("odd", [{"machine": 3}, {"machine": [1], "versions": "x"}, {"sources": 1}])
def test_a_report_of_odd_environments(out: Path, odd: dict[str, Any]) -> None:
    write_json(out / FIRST / "environment.json", stamped(odd))
    found = CliRunner().invoke(app, ["report", str(out)])
    assert found.exit_code == 0 and (out / "report.html").is_file()


def test_a_row_whose_probe_is_no_name_is_damage(out: Path) -> None:
    unsealed(out / FIRST / "result.json")
    edited(lambda r: r["measurements"][0].update(probe=["x"]))(out / FIRST / "result.json")
    assert f"{FIRST} is left out: result.json lacks numbers" in table(out).stderr


def test_a_folder_in_the_place_of_a_file_is_damage(out: Path) -> None:
    for run, name in ((FIRST, "result.json"), (SECOND, "metrics.jsonl")):
        (out / run / name).unlink()
        (out / run / name).mkdir()
    found = table(out)
    assert f"{FIRST} is left out: result.json is damaged" in found.stderr
    assert f"what {SECOND} measured while it was trained is left out" in found.stderr
