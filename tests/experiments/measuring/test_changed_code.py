"""A file of somebody's own that was edited after a run was trained: told, and never pooled."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.execution.preflight import refuse_changed_code
from experiments.grid.grid import Grid, load_grid
from experiments.measuring.load import load_model
from experiments.measuring.remeasure import measure_each
from experiments.results.code_versions import Codes, refuse_mixed
from experiments.results.long_table import load_runs
from experiments.results.records import Record
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import write_json
from experiments.runs.output import prepare_output, record_grid
from experiments.runs.provenance import changed_code, own_code
from experiments.runs.schema_version import stamped
from experiments.training.train import train
from generators.mano import Mano

TASK = """from typing import ClassVar, Literal
from generators.multihop import MultiHop
OFFSET = 0
class Mine(MultiHop):
    version: ClassVar[int] = 1
    kind: Literal["mine"] = "mine"
"""
MODEL = """from typing import Literal
from models.config import LoopedConfig
OFFSET = 0
class Mine(LoopedConfig):
    kind: Literal["mine-model"] = "mine-model"
"""
OBJECTIVE = """from typing import Literal
from models.objectives.last_loop import LastLoop
OFFSET = 0
class Mine(LastLoop):
    kind: Literal["mine-loss"] = "mine-loss"
"""
PROBE = """from typing import Literal
from probes.accuracy import Accuracy
OFFSET = 0
class Mine(Accuracy):
    kind: Literal["mine-probe"] = "mine-probe"
"""
FILES = {"task": TASK, "model": MODEL, "objective": OBJECTIVE}


def grid_of(folder: Path, part: str, seeds: str = "[0, 1]") -> Grid:
    """A grid of two runs of which one part is from `mine.py`."""
    task, model, objective = (
        "mine.py:Mine" if part == name else usual
        for name, usual in (("task", "multihop"), ("model", "looped"), ("objective", "last_loop"))
    )
    (folder / "grid.yaml").write_text(
        f"baseline:\n"
        f"  task: {{kind: {task}, entities: 8, relations: 4, hops: 2}}\n"
        f"  model: {{kind: {model}, width: 16, heads: 2}}\n"
        f"  objective: {{kind: {objective}}}\n"
        f"  training: {{batch: 8, phases: [{{until_step: 2}}]}}\n"
        f"  observe: {{probes: [{{kind: accuracy, items: 8}}], evaluate_every: 1}}\n"
        f"axes: {{seed: {seeds}}}\n"
    )
    return load_grid(folder / "grid.yaml")


def done(out: Path, config: RunConfig) -> RunFolder:
    folder = RunFolder(out / config.run_id)
    folder.freeze(config)
    assert train(config, folder)
    return folder


def recorded(grid: Grid, out: Path) -> None:
    prepare_output(out)
    points = [{"run_id": p.run_id, "part": p.part, "labels": p.labels} for p in grid.points]
    record_grid(out, grid.name, title="", figures=[], points=points)


@pytest.mark.parametrize("part", FILES)
def test_an_edited_file_is_told_before_anything_is_run_and_never_pooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    mine, out = tmp_path / "mine.py", tmp_path / "runs"
    mine.write_text(FILES[part])
    grid = grid_of(tmp_path, part)
    first, second = grid.runs.values()
    recorded(grid, out)
    folder = done(out, first)
    configs = {folder: first}
    mine.write_text(FILES[part].replace("OFFSET = 0", "OFFSET   =  0  # a comment"))
    assert changed_code(folder, first) == [], "comments and layout are no code"
    refuse_changed_code([folder], configs)
    assert load_model(out, first.run_id)[0] is not None

    mine.write_text(FILES[part].replace("OFFSET = 0", "OFFSET = 1"))
    assert changed_code(folder, first) == ["mine.py"]
    said = CliRunner().invoke(app, ["plan", "grid.yaml", "--out", str(out)])
    assert "of other code" in said.stdout and "1 of other code" in said.stdout
    assert "mine.py changed since" in said.stderr and "raise `version`" in said.stderr
    with pytest.raises(LoopscopeError, match=r"mine\.py changed since .*[\s\S]*--allow-drift"):
        refuse_changed_code([folder], configs)
    with pytest.raises(LoopscopeError, match=r"mine\.py changed since"):
        load_model(out, first.run_id)
    assert load_model(out, first.run_id, allow_drift=True)[0] is not None
    (found,) = measure_each(out, [first.run_id])
    assert "mine.py changed since" in found.problem

    done(out, second)  # as with --allow-drift
    said = CliRunner().invoke(app, ["table", str(out)])
    assert said.exit_code == 0 and "mine.py is there in 2 versions" in said.stderr
    rows = load_runs(out)
    codes = rows.groupby("run_id")["code"].unique().map(list).tolist()
    assert len({code for (code,) in codes}) == 2 == rows["cell"].nunique()
    assert said.stdout.count("mine.py ") >= 2, "a row each"
    refused = CliRunner().invoke(app, ["table", str(out), "--by", "task"])
    assert "are not pooled" in str(refused.exception)
    with pytest.raises(LoopscopeError, match="2 versions of mine.py"):
        refuse_mixed(rows, "here")
    one = CliRunner().invoke(
        app, ["table", str(out), "--by", "task", "--where", f"code={codes[0][0]}"]
    )
    assert one.exit_code == 0, one.exception


def test_an_old_result_is_known_by_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    grid = grid_of(tmp_path, "task", "[0]")
    (config,) = grid.runs.values()
    folder = done(tmp_path / "runs", config)
    result = folder.result() or {}
    assert result["own_code"] == own_code(config)
    (tmp_path / "mine.py").write_text(TASK + "# edited\n")
    kept = {k: v for k, v in result.items() if k not in ("own_code", "checksums")}
    write_json(folder.path / "result.json", stamped(kept))
    assert changed_code(folder, config) == []
    environment = folder.environment() or {}
    folder.write_environment({k: v for k, v in environment.items() if k != "syntax"})
    assert changed_code(folder, config) == ["mine.py"], "its text alone was known then"


def test_rows_of_an_edited_probe_are_not_pooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(PROBE)
    grid = grid_of(tmp_path, "none")
    out = tmp_path / "runs"
    recorded(grid, out)
    for config in grid.runs.values():
        done(out, config)
    first, second = grid.runs
    asked = ["--probe", "{kind: mine.py:Mine, items: 8}"]
    for run_id, offset in ((first, 0), (second, 1)):
        (tmp_path / "mine.py").write_text(PROBE.replace("OFFSET = 0", f"OFFSET = {offset}"))
        said = CliRunner().invoke(app, ["probe", str(out), run_id, *asked])
        assert said.exit_code == 0, said.output
    rows = load_runs(out)
    assert set(rows["code"]) > {""} and rows["code"].nunique() == 3
    with pytest.raises(LoopscopeError, match="2 versions of mine.py"):
        refuse_mixed(rows, "here")
    refuse_mixed(rows[rows["code"] == ""], "as a control")
    said = CliRunner().invoke(app, ["probe", str(out), first, *asked])  # now by the new file
    assert said.exit_code == 0 and set(load_runs(out)["code"]) == {""}


def test_runs_of_an_older_version_of_a_task_are_known_and_not_pooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {
        "task": {"kind": "mano"},
        "model": {"width": 16, "heads": 2},
        "training": {"batch": 8, "phases": [{"until_step": 2}]},
    }
    now = RunConfig.model_validate(fields)
    assert Mano.version == 2 and (now.versions_under(now.run_id) or {})["mano"] == 2
    monkeypatch.setattr(Mano, "version", 1)
    former = now.run_id
    monkeypatch.undo()
    assert former != now.run_id and (now.versions_under(former) or {})["mano"] == 1
    assert now.versions_under(former[:-1] + "z") is None
    records = []
    for run_id in (now.run_id, former):
        folder = RunFolder(tmp_path / run_id)
        folder.freeze(now)
        folder.write_result({"run_id": run_id, "measurements": []})
        records.append(Record.read(folder))
    assert [record.state for record in records] == ["done", "done"]
    codes = Codes(records)
    assert [codes.of(record) for record in records] == ["mano version 2", "mano version 1"]
    assert Codes(records[:1]).of(records[0]) == ""
