"""What levers cost, read from curves whose answer is known, and arms that take turns."""

import json
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import config, write_run
from typer.testing import CliRunner

from experiments.bench import recipe
from experiments.bench.recipe import Cost, costs, train_in_turns
from experiments.bench.result_goal import Goal, chosen, goal_of
from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.execution.runner import GridOutcome
from experiments.grid import load_grid
from experiments.results.long_table import load_curves, read_results
from experiments.runs.folder import RunFolder
from experiments.runs.output import prepare_output, record_grid

#: seconds of the processor in a step, so that step 100 is minute 1 of that arm
PER_STEP = {"slow": 0.6, "fast": 0.3}


def rows(metric: str, value: float) -> list[dict[str, Any]]:
    asked = {"split": "test", "difficulty": 3} if metric == "accuracy" else {"item": "total"}
    return [{"metric": metric, "loop": 1, "value": value, "n_items": 9, **asked}]


def write_arm(
    out: Path,
    arm: str,
    curves: list[dict[int, float]],
    metric: str = "accuracy",
    *,
    timed: bool = True,
    failed: tuple[int, ...] = (),
    exposures: float | None = None,
) -> list[dict[str, Any]]:
    """Runs of an arm, one of each curve (step -> value), the last value measured at the end."""
    points = []
    for seed, curve in enumerate(curves):
        run_id, last = f"toy-1x1-{arm}{seed}", max(curve)
        lines: list[dict[str, Any]] = [{"step": 1, "loss": 3.0}]
        for step, value in curve.items():
            spent = {"cpu_seconds": PER_STEP[arm] * step} if timed else {}
            lines.append({"step": step, **spent, "measurements": rows(metric, value)})
        measured = None if seed in failed else rows(metric, curve[last])
        frozen = config("multihop", 1, seed, lr={"slow": 1e-3, "fast": 2e-3}[arm])
        folder = write_run(
            out, run_id, frozen, measured, metrics=lines, steps=last, exposures=exposures
        )
        if measured is None:
            folder.fail("the loss is nan")
        else:
            result = folder.result()
            assert result is not None
            result["timings"]["cpu_seconds"] = PER_STEP[arm] * last + 6  # of the final probes
            folder.write_result(result)
        points.append({"run_id": run_id, "part": "", "labels": {"arm": arm, "seed": str(seed)}})
    return points


def write(out: Path, slow: Any, fast: Any, **how: Any) -> Path:
    prepare_output(out)
    points = write_arm(out, "slow", slow, **how) + write_arm(out, "fast", fast, **how)
    record_grid(out, "toy", title="", figures=[], points=points)
    return out


def found(out: Path, **asked: Any) -> dict[str, Cost]:
    results = read_results(out)
    return {cost.arm: cost for cost in costs(results, goal_of(results, **asked))[0]}


#: at .95 after step 100, 200 and never; and after 300, 300 and 200
SLOW = [{100: 0.96, 200: 1.0}, {100: 0.5, 200: 0.95}, {100: 0.1, 200: 0.2}]
FAST = [{100: 0.1, 200: 0.2, 300: 0.95}, {100: 0.1, 200: 0.94, 300: 1.0}, {200: 0.99, 300: 0.99}]


def test_a_share_of_the_seeds(tmp_path: Path) -> None:
    out = write(tmp_path, SLOW, FAST)
    of = found(out, share=0.6)
    assert list(of) == ["slow", "fast"]
    slow, fast = of["slow"], of["fast"]
    assert (slow.step, fast.step) == (200, 300)
    # the last evaluation is at the end, where the final probes come on top: 200 · .6 s + 6 s
    assert slow.minutes == pytest.approx(126 / 60) and fast.minutes == pytest.approx(96 / 60)
    assert slow.alone == pytest.approx((1.0, 2.0)) and fast.alone == pytest.approx((1.5, 1.5, 1.0))
    assert slow.final == (1.0, 0.95, 0.2) and (slow.seeds, slow.done) == (3, 3)
    assert not slow.estimated and slow.exposures is None
    third = found(out, share=1 / 3)
    assert (third["slow"].step, third["fast"].step) == (100, 200)
    assert third["slow"].minutes == pytest.approx(1.0), "nothing but what came before"
    every = found(out, share=1.0)
    assert (every["slow"].step, every["fast"].step) == (None, 300)
    assert every["slow"].minutes == pytest.approx(126 / 60), "all that was spent in vain"
    row = dict(zip(recipe.HEAD, every["slow"].row(None), strict=True))
    assert row["reached at step"] == "not reached" and row["minutes a seed"] == "> 2.10"
    assert row["a seed alone"] == "1.00 to 2.00, 2 of 3"
    never = found(out, level=1.01)["fast"].row(None)
    assert never[-1] == "not reached" and never[4] == "not reached"


def test_minutes_are_told_beside_the_cheapest_arm_that_gets_there(tmp_path: Path) -> None:
    arms = list(found(write(tmp_path, SLOW, FAST), share=1.0).values())  # 2.1 in vain, 1.6
    assert [row[7] for row in recipe.rows(arms)] == ["> 1.31", "1.00"]
    assert [r["times_the_least"] for r in recipe.records(arms)] == pytest.approx([2.1 / 1.6, 1])
    nowhere = list(found(tmp_path, level=1.01).values())
    assert [row[7] for row in recipe.rows(nowhere)] == ["", ""]
    assert [record["times_the_least"] for record in recipe.records(nowhere)] == [None, None]


def test_the_mean_over_seeds_beside_the_best_arm(tmp_path: Path) -> None:
    slow = [{100: 1.0, 200: 1.5, 300: 2.1}, {100: 1.0, 200: 1.9, 300: 1.9}]
    fast = [{100: 1.9, 200: 1.9}, {100: 1.7, 200: 2.06}]
    out = write(tmp_path, slow, fast, metric="bits_per_parameter", exposures=600.0)
    results = read_results(out)
    goal = goal_of(results)
    arms, level = costs(results, goal)
    assert level == pytest.approx(0.98 * 2.0), "98 % of the mean of 2.1 and 1.9"
    assert goal.text(level) == (
        "bits_per_parameter (total): mean over seeds at 1.96 or more, 98 % of the best arm"
    )
    assert [arm.step for arm in arms] == [300, 200]
    assert [arm.exposures for arm in arms] == [600, 600]
    earlier = found(out, within=0.11)  # 1.78: reached by the mean of 1.9 and 1.7, at half of 600
    assert earlier["fast"].step == 100 and earlier["fast"].exposures == pytest.approx(300)
    assert found(out, level=1.99)["fast"].step is None
    assert found(out, level=1.98)["fast"].step == 200


def test_runs_that_end_early_keep_what_they_reached_and_cost_no_more(tmp_path: Path) -> None:
    early = [{100: 0.96}, {100: 0.2, 200: 0.99}]  # as with a curriculum that ends by accuracy
    out = write(tmp_path, early, FAST)
    cost = found(out, share=1.0)["slow"]
    assert cost.step == 200
    assert cost.minutes == pytest.approx((66 + 126) / 2 / 60)


def test_a_run_that_failed_counts_as_one_that_does_not_get_there(tmp_path: Path) -> None:
    out = write(tmp_path, [{100: 0.96}, {100: 0.97}], FAST)
    assert found(out)["slow"].step == 100
    broken = write_arm(tmp_path / "b", "slow", [{100: 0.96}, {50: 0.97}], failed=(1,))
    prepare_output(tmp_path / "b")
    record_grid(tmp_path / "b", "toy", title="", figures=[], points=broken)
    (cost,) = found(tmp_path / "b").values()
    assert cost.step is None and (cost.seeds, cost.done) == (2, 1)
    assert cost.row(None)[1] == "1 of 2 done" and cost.final == (0.96,)
    assert found(tmp_path / "b", share=0.5)[cost.arm].step == 50


def test_an_arm_that_was_not_run_has_missed_nothing() -> None:
    """One whose runs all failed has."""
    arm = {"seeds": 3, "done": 0, "final": (), "step": None, "exposures": None, "alone": ()}
    missing = Cost(arm="a", minutes=0.0, estimated=False, **arm)
    assert missing.row(1.0) == ("a", "0 of 3 done", *[""] * 7)
    failed = Cost(arm="a", minutes=0.5, estimated=False, **arm)
    assert failed.row(1.0) == (
        *("a", "0 of 3 done", "", "", "not reached", "", "> 0.50", "> 0.50", "not reached"),
    )


def test_times_that_were_not_written_down_are_estimated_and_said_to_be(tmp_path: Path) -> None:
    out = write(tmp_path, SLOW, FAST, timed=False)
    cost = found(out, share=1 / 3)["slow"]
    assert cost.estimated and cost.step == 100
    assert cost.minutes == pytest.approx(126 / 2 / 60), "in proportion to the steps"
    row = cost.row(None)
    assert row[6] == "~1.05" and row[8].startswith("~1.05 to")
    assert load_curves(out)["cpu_seconds"].isna().all()


def test_what_cannot_be_asked_is_said(tmp_path: Path) -> None:
    out = write(tmp_path, SLOW, FAST)
    results = read_results(out)
    with pytest.raises(LoopscopeError, match=r"accuracy .*difficulty 9\); measured are accuracy"):
        costs(results, goal_of(results, difficulty=9))
    with pytest.raises(LoopscopeError, match=r"measured bits; measured are accuracy"):
        costs(results, goal_of(results, "bits"))
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(LoopscopeError, match=f"--level {wrong}: a number is needed"):
            goal_of(results, level=wrong)
    with pytest.raises(LoopscopeError, match="--share 0: no seed"):
        goal_of(results, share=0.0)
    with pytest.raises(LoopscopeError, match="give one"):
        goal_of(results, level=0.5, within=0.1)
    assert costs(chosen(results, ["arm=fast"]), Goal("accuracy", level=0.9))[0][0].arm == "fast"
    nothing = read_results(write(tmp_path / "n", [], []))
    with pytest.raises(LoopscopeError, match="neither accuracy nor bits_per_parameter"):
        goal_of(nothing)


GRID = """
name: tiny
baseline:
  task: {kind: multihop, entities: 8, relations: 4, hops: 2}
  model: {width: 8, heads: 1}
  training: {batch: 8, phases: [{until_step: 4}]}
  observe: {probes: [{kind: accuracy, items: 16}], evaluate_every: 2}
axes:
  arm: [{name: one}, {name: two, model.loops: 2}]
  seed: [0, 1, 2]
"""


def test_every_arm_has_its_turn_before_other_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(GRID)
    grid, rounds = load_grid(tmp_path / "tiny.yaml"), list[list[tuple[int, int]]]()

    def look(asked: Any, out: Path, *, backend: Any) -> GridOutcome:
        rounds.append([(p.config.model.loops, p.config.seed) for p in asked.points])
        assert (backend.workers, backend.device, backend.stack) == (1, "cpu", 2)
        return GridOutcome((), (), (), interrupted=interrupted)

    monkeypatch.setattr(recipe, "run_grid", look)
    interrupted = False
    list(train_in_turns(grid, tmp_path, 2))
    every = [(loops, seed) for loops in (1, 2) for seed in (0, 1, 2)]
    assert rounds == [[(1, 0), (1, 1), (2, 0), (2, 1)], [(1, 2), (2, 2)], every]
    rounds.clear()
    interrupted = True
    assert len(list(train_in_turns(grid, tmp_path, 2))) == len(rounds) == 1


@pytest.mark.usefixtures("work_here")
def test_command_trains_reads_and_writes(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(GRID)
    out, file = tmp_path / "runs", tmp_path / "costs.json"
    told = ["bench", "recipe", str(tmp_path / "tiny.yaml"), "--out", str(out), "--stack", "3"]
    told += ["--level", "0.0", "--json", str(file), "--set", "model.width=16"]
    result = CliRunner().invoke(app, told)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith(
        "accuracy (split test, difficulty 2): 90 % of the seeds at 0 or more"
    )
    assert [line.split()[0] for line in lines[2:]] == ["one", "two"]
    arms = json.loads(file.read_text())["arms"]
    assert [(arm["seeds"], arm["done"], arm["step"]) for arm in arms] == [(3, 3, 2)] * 2
    for folder in out.glob("multihop-*"):
        looks = [m for m in RunFolder(folder).metrics() if "measurements" in m]
        spent = [m["cpu_seconds"] for m in looks]
        result_file = RunFolder(folder).result()
        assert result_file is not None and [m["step"] for m in looks] == [2, 4]
        assert 0 < spent[0] < spent[1] < result_file["timings"]["cpu_seconds"]
    again = CliRunner().invoke(app, ["bench", "recipe", "--out", str(out), "--level", "0.0"])
    assert again.stdout == result.stdout
