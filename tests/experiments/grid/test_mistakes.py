"""Whatever can be wrong in a grid is found before a run starts, with its line and column."""

from pathlib import Path

import pytest
from grid_files import BASE, problems, write

from experiments.grid.grid import load_grid
from experiments.grid.located_yaml import ConfigError


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("axes: {model.lops: [1]}", "9:8: model.lops: unknown key (did you mean 'loops'?)"),
        ("axes: {modle.loops: [1]}", "9:8: axes.modle.loops: a run has no field 'modle' (did you"),
        ("axes: {sed: [1]}", "9:8: axes.sed: a run has no field 'sed' (did you mean 'seed'?)"),
        ("axes: {seed: []}", "9:14: axes.seed: List should have at least 1 item"),
        ("axes: {seed: 3}", "9:14: axes.seed: should be a valid list, got 3"),
        ("axes: {seed: [0, -1]}", "9:18: seed: should be greater than or equal to 0, got -1"),
        ("axes: {seed: [0, 1, 0]}", "9:21: axes.seed.2: a second value is called '0'"),
        ("axes: {model.heads: [2, 3]}", "9:25: model: heads must divide width: width 64"),
        ("axes: {arm: [{model.widht: 3}]}", "9:15: model.widht: unknown key (did you mean"),
        ("axes: {arm: [{name: a, model.core: 0}]}", "9:36: model.core: should be greater than"),
        ("axes: {arm: [{name: a}, {name: a}]}", "9:25: axes.arm.1: a second value is called 'a'"),
        ("axes: {training.phases.2.lr: [1]}", "9:31: training.phases.2.lr: the list has 2 entries"),
        ("axes: {seed.x: [1]}", "9:17: seed: should be a valid integer, got {'x': 1}"),
        ("parts: {a: {baselin: {}}}", "9:13: parts.a.baselin: unknown key (did you mean 'basel"),
        ("parts: {a: {axes: {sed: [1]}}}", "9:20: parts.a.axes.sed: a run has no field 'sed'"),
        ("parts: {'a/b': {}}", "9:9: parts.a/b"),
        ("parts: {a: {baseline: {task: {hop: 1}}}}", "9:31: task.hop: unknown key (did you mean"),
        ("axis: {}", "9:1: axis: unknown key (did you mean 'axes'?)"),
        ("name: a/b", "9:7: name: 'a/b' cannot name files everywhere"),
        ("figures: [{kind: plain}]", "9:11: figures.0: unknown kind 'plain' (did you mean 'plane'"),
        ("figures: [{kind: plane, part: a}]", "9:31: figures.0.part: there is no part 'a'"),
        ("figures: {kind: plane}", "9:10: figures: should be a valid list"),
        (
            "axes: {model.loops: [1, 2], model: [{loops: 1}]}",
            "9:25: model.loops: is overridden by a later axis or by --set",
        ),
        (
            "parts: {a: {}, b: {baseline: {observe.log_every: 1}}}",
            "are the same run",
        ),
    ],
)
def test_mistakes_are_located(tmp_path: Path, extra: str, says: str) -> None:
    (found, *more) = problems(tmp_path, BASE + extra)
    assert says in found
    assert not more


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{until_step: 10}", "{until_exposure: 3}", "7:26: training.phases.0.until_exposure: this"),
        ("until_step: 20", "until_step: 10", "8:9: training.phases.1: ends at step 10, not after"),
        ("until_step: 20", "until_step: 20, weights: {a: 1}", "8:35: training.phases.1.weights"),
        ("kind: multihop", "kind: bios, people: 99999999", "2:9: task: people 99999999 is more"),
        ("kind: multihop", "kind: multihop, hops: 2, hops: 3", "2:35: baseline.task.hops: is alr"),
        ("width: 64", "width: 64, heads: 3", "3:10: model: heads must divide width"),
        (BASE, "", "1:1: is empty; a grid has a `baseline`"),
        (BASE, "- 1", "1:1: needed a mapping, got [1]"),
        (BASE, "baseline: 3", "1:11: baseline: should be a valid dictionary, got 3"),
    ],
)
def test_mistakes_in_the_baseline(tmp_path: Path, old: str, new: str, says: str) -> None:
    (found, *more) = problems(tmp_path, BASE.replace(old, new))
    assert says in found
    assert not more


def test_an_empty_grid_lacks_everything(tmp_path: Path) -> None:
    found = problems(tmp_path, "title: nothing")
    assert found == ["1:1: model: is missing", "1:1: task: is missing", "1:1: training: is missing"]


@pytest.mark.parametrize(
    ("probe", "at", "says"),
    [
        ("{kind: accuracy, difficulties: [2, 7]}", "9:53: ?.difficulties", "no difficulty 7"),
        ("{kind: accuracy, splits: [tset]}", "9:47: ?.splits", "no split 'tset'"),
        ("{kind: capacity}", "9:22: ?", "probe capacity does not apply to task multihop"),
    ],
)
def test_probes_that_do_not_fit_the_task(tmp_path: Path, probe: str, at: str, says: str) -> None:
    (found,) = problems(tmp_path, BASE + f"  observe: {{probes: [{probe}]}}")
    assert found.startswith(at.replace("?", "observe.probes.0") + ": ")
    assert says in found
    rhythm = f"  observe: {{evaluate_every: 1, evaluate_with: [{probe}]}}"
    (found,) = problems(tmp_path, BASE + rhythm)
    assert at.split(": ")[1].replace("?", "observe.evaluate_with.0") + ": " in found


def test_mistakes_of_every_point_and_figure_come_together(tmp_path: Path) -> None:
    text = BASE.replace("width: 64", "widht: 64") + (
        "axes: {seed: [0, -1, -2]}\nfigures: [{kind: plain}]\n"
    )
    found = [line.partition(" ")[0] for line in problems(tmp_path, text)]
    assert found == ["3:11:", "9:18:", "9:22:", "10:11:"]


def test_wrong_values_of_an_axis_are_each_reported_once(tmp_path: Path) -> None:
    found = problems(tmp_path, BASE + "axes: {seed: [0, 1, 2], model.width: [7, 64, 9]}")
    assert [line.partition(" ")[0] for line in found] == ["9:39:", "9:46:"]


def test_a_warm_up_beyond_its_phase_is_refused_with_the_line(tmp_path: Path) -> None:
    text = BASE.replace("until_step: 10", "until_step: 10, warmup: 40")
    assert text != BASE
    with pytest.raises(ConfigError) as refused:
        load_grid(write(tmp_path, text))
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "warmup" in row)
    assert f":{line}:" in str(refused.value) and "at 0.25 of its peak" in str(refused.value)
    load_grid(write(tmp_path, text.replace("warmup: 40", "warmup: 10")))
