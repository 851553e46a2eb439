"""Arms trained without loopscope: the same curve, and what it cost beside ours, by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import config, write_run
from typer.testing import CliRunner

from experiments.bench import beside, recipe
from experiments.bench.beside import check_fits, train_beside
from experiments.bench.plain_runs import TRAINERS, PlainRun
from experiments.bench.recipe import all_costs, rows, train_in_turns
from experiments.bench.result_goal import Goal
from experiments.bench.together import train_together
from experiments.cli.main import app
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.execution.runner import GridOutcome
from experiments.grid import load_grid
from experiments.results.long_table import read_results
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import sealed, write_json
from experiments.runs.output import prepare_output, record_grid

GRID = """
name: tiny
baseline:
  task: {kind: biod, people: 20, attributes: 3, diversity: 4, alphabet: 4, name_length: 2}
  model: {width: 16, heads: 2, tied: true}
  training: {batch: 10, lr: 0.02, phases: [{until_exposure: 6, warmup: 2, decay: linear}]}
  observe:
    probes: [{kind: capacity_biod}]
    evaluate_every: 5
    evaluate_with: [{kind: capacity_biod}]
axes:
  arm: [{name: adam}, {name: muon, training.optimiser: muon}]
  seed: [0, 1]
"""


def configs(tmp_path: Path) -> list[RunConfig]:
    (tmp_path / "tiny.yaml").write_text(GRID)
    return [point.config for point in load_grid(tmp_path / "tiny.yaml").points]


def bits(lines: list[dict[str, Any]]) -> dict[int, list[float]]:
    """Step -> bits per parameter of every item."""
    return {
        line["step"]: [
            row["value"] for row in line["measurements"] if row["metric"] == "bits_per_parameter"
        ]
        for line in lines
        if "measurements" in line
    }


def test_another_way_has_the_same_curve_as_our_run(tmp_path: Path) -> None:
    """Torch's layers, its AdamW and dense logits against ours, read by the same probe."""
    ours = configs(tmp_path)[0]
    prepare_output(tmp_path)
    train_together({tmp_path / ours.run_id: ours}, "cpu", threads=1)
    train_beside([ours], ["plain"], tmp_path)
    theirs = json.loads((tmp_path / "beside" / "plain" / f"{ours.run_id}.json").read_text())
    wanted, found = bits(RunFolder(tmp_path / ours.run_id).metrics()), bits(theirs["looks"])
    assert list(found) == list(wanted) == [5, 10, 12]
    for step, values in wanted.items():
        assert found[step] == pytest.approx(values, abs=2e-4)
    assert abs(found[12][-1] - found[5][-1]) > 0.01, "something is learned in between"
    assert bits([{"step": 12, **theirs}])[12] == found[12]
    spent = [look["cpu_seconds"] for look in theirs["looks"]]
    assert 0 < spent[0] < spent[1] < spent[2] < theirs["cpu_seconds"]


def test_what_can_be_trained_is_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = list[tuple[str, int]]()

    def train(run: PlainRun) -> list[dict[str, Any]]:
        trained.append((run.config.run_id, run.steps))
        return []

    monkeypatch.setitem(TRAINERS, "plain", train)
    adam, other, *muon = configs(tmp_path)
    for _ in range(2):
        train_beside([adam, other, *muon], ["plain"], tmp_path)
    two = beside.shortened(adam)
    assert trained == [(two.run_id, 2), (adam.run_id, 12), (other.run_id, 12)]
    check_fits([*muon, adam])
    with pytest.raises(LoopscopeError, match="--beside needs an arm .* is trained by AdamW"):
        check_fits(muon)


def test_a_probe_that_reads_every_loop_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(GRID)
    changes = ["model.loops=2", "observe.probes=[{kind: capacity_biod, loops: all}]"]
    asked = load_grid(tmp_path / "tiny.yaml", changes).points[0].config
    with pytest.raises(LoopscopeError, match="after its last loop, 2, and .* after loop 1"):
        PlainRun(asked).finish()


def write(out: Path) -> Path:
    """Two arms of one seed, of which AdamW was trained plainly as well."""
    prepare_output(out)
    points = []
    for arm, per_step, curve in (
        ("AdamW", 0.6, {100: 0.5, 200: 0.7, 300: 1.0}),
        ("Muon", 0.7, {100: 1.0, 200: 1.2, 300: 1.4}),
    ):
        run_id = f"toy-1x1-{arm.lower()}"
        lines = [line(step, per_step * step, value) for step, value in curve.items()]
        frozen = config("biod", 1, 0, lr={"AdamW": 1e-3, "Muon": 2e-3}[arm])
        ends = lines[-1]["measurements"]
        how: dict[str, Any] = {"metrics": lines, "steps": 300, "exposures": 600.0}
        folder = write_run(out, run_id, frozen, ends, **how)
        result = folder.result()
        assert result is not None
        result["timings"]["cpu_seconds"] = 300 * per_step
        folder.write_result(result)
        points.append({"run_id": run_id, "part": "", "labels": {"arm": arm, "seed": "0"}})
    record_grid(out, "toy", title="", figures=[], points=points)
    return out


def line(step: int, spent: float, value: float) -> dict[str, Any]:
    measured = {"metric": "bits_per_parameter", "item": "total", "value": value, "n_items": 9}
    return {"step": step, "cpu_seconds": spent, "measurements": [{**measured, "loop": 1}]}


def plainly(out: Path, values: dict[int, float]) -> None:
    """Three seconds a step."""
    looks = [line(step, 3.0 * step, value) for step, value in values.items()]
    path = out / "beside" / "plain" / "toy-1x1-adamw.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    ends = {"cpu_seconds": 905.0, "measurements": looks[-1]["measurements"]}
    write_json(path, sealed({"looks": looks, **ends}))


def test_the_ratio_to_the_cheapest_arm_by_hand(tmp_path: Path) -> None:
    out = write(tmp_path)
    plainly(out, {100: 0.6, 200: 1.0, 300: 1.1})
    goal = Goal("bits_per_parameter", level=1.0, item="total")
    found, level = all_costs(read_results(out), goal, out)
    assert level == 1.0 and [cost.arm[:5] for cost in found] == ["AdamW", "Muon", "AdamW"]
    theirs = found[-1]
    assert theirs.arm.endswith(", plain")
    assert theirs.step == 200 and theirs.minutes == pytest.approx(10.0)
    assert theirs.exposures == pytest.approx(400) and theirs.final == (1.1,)
    # Muon is there after 100 steps of .7 s, and the plain loop after 200 of 3 s
    assert theirs.times(70 / 60) == pytest.approx(600 / 70)
    assert [row[7] for row in rows(found)] == ["2.57", "1.00", "8.57"], "180 s, 70 s, 600 s"

    plainly(out, {100: 0.6, 200: 0.7, 300: 0.9})
    found, _ = all_costs(read_results(out), goal, out)
    row = dict(zip(recipe.HEAD, rows(found)[-1], strict=True))
    assert row["reached at step"] == row["a seed alone"] == "not reached"
    assert row["minutes a seed"] == "> 15.08" and row["x the least"] == "> 12.93"


def test_a_damaged_record_is_told_and_counted_for_nothing(tmp_path: Path) -> None:
    out, goal = write(tmp_path), Goal("bits_per_parameter", level=1.0, item="total")
    plainly(out, {100: 0.6, 200: 1.0})
    path = out / "beside" / "plain" / "toy-1x1-adamw.json"
    text = path.read_text()
    unsealed = {k: v for k, v in json.loads(text).items() if k in ("looks", "measurements")}
    edited = text.replace("905.0", "5.0")
    for damaged in ("", "[]", text[:-40], edited, json.dumps(unsealed)):
        path.write_text(damaged)
        with pytest.raises(LoopscopeError, match="toy-1x1-adamw.json is damaged .* --beside plain"):
            all_costs(read_results(out), goal, out)
    path.write_text(text)
    assert len(all_costs(read_results(out), goal, out)[0]) == 3


def test_the_best_of_our_arms_says_what_is_to_be_reached(tmp_path: Path) -> None:
    out = write(tmp_path)
    plainly(out, {100: 5.0})
    found, level = all_costs(read_results(out), Goal("bits_per_parameter", item="total"), out)
    assert level == pytest.approx(0.98 * 1.4) and found[-1].step == 100


def test_other_ways_have_their_turn_with_the_same_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs(tmp_path)
    grid, turns = load_grid(tmp_path / "tiny.yaml"), list[tuple[str, list[int]]]()

    def ours(asked: Any, out: Path, *, backend: Any) -> GridOutcome:
        turns.append(("ours", [p.config.seed for p in asked.points]))
        return GridOutcome((), (), (), interrupted=False)

    def theirs(asked: Any, ways: list[str], out: Path) -> None:
        turns.append((" ".join(ways), [config.seed for config in asked]))

    monkeypatch.setattr(recipe, "run_grid", ours)
    monkeypatch.setattr(recipe, "train_beside", theirs)
    list(train_in_turns(grid, tmp_path, 1, ["plain"]))
    assert turns[:-1] == [(way, [s, s]) for s in (0, 1) for way in ("ours", "plain")]


@pytest.mark.usefixtures("work_here")
def test_command(tmp_path: Path) -> None:
    configs(tmp_path)
    out, file = tmp_path / "runs", tmp_path / "costs.json"
    told = ["bench", "recipe", str(tmp_path / "tiny.yaml"), "--out", str(out), "--stack", "2"]
    told += ["--beside", "plain", "--level", "-9", "--json", str(file)]
    result = CliRunner().invoke(app, told)
    assert result.exit_code == 0, result.output
    names = [text.split("  ")[0] for text in result.stdout.splitlines()[2:]]
    assert [name.split(",")[0] for name in names] == ["adam", "muon", "adam"]
    assert names[-1].endswith(", plain")
    arms = json.loads(file.read_text())["arms"]
    assert [(arm["seeds"], arm["done"], arm["step"]) for arm in arms] == [(2, 2, 5)] * 3
    assert min(arm["times_the_least"] for arm in arms) == 1
    again = CliRunner().invoke(app, ["bench", "recipe", "--out", str(out), "--level", "-9"])
    assert again.stdout == result.stdout
    refused = CliRunner().invoke(app, ["bench", "recipe", "--out", str(out), "--beside", "plain"])
    assert refused.exit_code == 1 and "needs the grid" in str(refused.exception)
