"""Grids expand into a fixed order, and whatever can be wrong is found before a run starts."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.errors import LoopscopeError
from experiments.grid.changes import command_line_changes, contains, merge, with_value
from experiments.grid.expansion import label_of
from experiments.grid.grid import SHIPPED, Grid, find_grid, load_grid
from experiments.grid.located_yaml import ConfigError

BASE = """\
baseline:
  task: {kind: multihop}
  model: {width: 64}
  training:
    lr: 1e-3
    phases:
      - {until_step: 10}
      - {until_step: 20}
"""


def write(tmp_path: Path, text: str, name: str = "g.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def load(tmp_path: Path, extra: str = "", *changes: str) -> Grid:
    return load_grid(write(tmp_path, BASE + extra), changes)


def problems(tmp_path: Path, text: str, *changes: str) -> list[str]:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_grid(path, changes)
    return [line.replace(f"{path}:", "") for line in str(caught.value).splitlines()]


# --- expansion -------------------------------------------------------------------------------


def test_a_baseline_alone_is_one_run(tmp_path: Path) -> None:
    grid = load(tmp_path)
    (point,) = grid.points
    assert (grid.name, grid.title, grid.figures) == ("g", "", ())
    assert (point.part, point.labels, point.run_id) == ("", {}, point.config.run_id)


def test_the_last_axis_runs_fastest(tmp_path: Path) -> None:
    grid = load(tmp_path, "axes: {seed: [2, 0], model.loops: [1, 4, 2]}")
    found = [(p.config.seed, p.config.model.loops) for p in grid.points]
    assert found == [(2, 1), (2, 4), (2, 2), (0, 1), (0, 4), (0, 2)]
    assert grid.points[1].labels == {"seed": "2", "model.loops": "4"}
    assert len({p.run_id for p in grid.points}) == 6


def test_groups_vary_together(tmp_path: Path) -> None:
    axes = """
axes:
  arm:
    - {name: "1⊗4", model.core: 1, model.loops: 4, training.lr: 4e-3}
    - {name: "4⊗1", model: {core: 4, loops: 1}, training.phases.1.until_step: 30}
  seed: [0, 1]
"""
    points = load(tmp_path, axes).points
    assert [p.labels["arm"] for p in points] == ["1⊗4", "1⊗4", "4⊗1", "4⊗1"]
    assert [p.config.model.label for p in points] == ["1⊗4", "1⊗4", "4⊗1", "4⊗1"]
    assert [p.config.training.lr for p in points] == [4e-3, 4e-3, 1e-3, 1e-3]
    assert [p.config.training.phases[1].until_step for p in points] == [20, 20, 30, 30]
    assert [p.config.training.phases[0].until_step for p in points] == [10, 10, 10, 10]


def test_a_group_without_a_name_is_called_by_what_it_sets(tmp_path: Path) -> None:
    (point,) = load(tmp_path, "axes: {arm: [{model.core: 2, training.lr: 4e-3}]}").points
    assert point.labels == {"arm": "model.core=2 training.lr=0.004"}


def test_parts_add_to_baseline_and_axes(tmp_path: Path) -> None:
    parts = """
axes: {seed: [0, 1]}
parts:
  wide: {baseline: {model.width: 128}, axes: {model.loops: [1, 2]}}
  other: {baseline: {task: {kind: bios, people: 50}}, axes: {seed: [5]}}
"""
    points = load(tmp_path, parts).points
    assert [p.part for p in points] == ["wide"] * 4 + ["other"]
    assert [(p.config.seed, p.config.model.loops) for p in points[:4]] == [
        (0, 1),
        (0, 2),
        (1, 1),
        (1, 2),
    ]
    assert [p.config.model.width for p in points] == [128] * 4 + [64]
    assert points[4].config.task.kind == "bios"
    assert points[4].labels == {"seed": "5"}


def test_values_of_an_axis_may_be_mappings(tmp_path: Path) -> None:
    axes = "axes: {objective: [{kind: last_loop}, {kind: entropy, beta: 0.2}], model.loops: [2]}"
    points = load(tmp_path, axes).points
    assert [p.config.objective.kind for p in points] == ["last_loop", "entropy"]
    assert [p.labels["objective"] for p in points] == ["last_loop", "entropy beta=0.2"]


def test_with_one_loop_two_objectives_are_one_run_at_two_points(tmp_path: Path) -> None:
    axes = "axes: {objective: [{kind: last_loop}, {kind: entropy}], model.loops: [1, 2]}"
    grid = load(tmp_path, axes)
    assert len(grid.points) == 4
    assert grid.points[0].run_id == grid.points[2].run_id
    assert list(grid.runs) == list(dict.fromkeys(p.run_id for p in grid.points))
    assert len(grid.runs) == 3


def test_expansion_is_the_same_every_time(tmp_path: Path) -> None:
    axes = "axes: {seed: [0, 1], model.loops: [1, 2]}"
    assert load(tmp_path, axes).points == load(tmp_path, axes).points


def test_figures_are_kept_as_written(tmp_path: Path) -> None:
    figures = "figures: [{kind: plane, title: Both}, {kind: accuracy_versus_loops}]"
    assert load(tmp_path, figures).figures == (
        {"kind": "plane", "title": "Both"},
        {"kind": "accuracy_versus_loops"},
    )


def test_two_thousand_runs_are_planned(tmp_path: Path) -> None:
    from experiments.planning.plan import as_text, plan

    path = write(tmp_path, BASE + f"axes: {{seed: {list(range(500))}, model.loops: [1, 2, 3, 4]}}")
    grid = load_grid(path)
    text = as_text(grid, plan(grid, tmp_path / "runs"))
    assert "2000 points, 2000 runs (2000 missing)" in text


def test_plugins_lie_beside_the_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "from typing import Literal\nfrom generators.multihop import MultiHop\n"
        "class Mine(MultiHop):\n    kind: Literal['mine'] = 'mine'\n    more: int = 1\n"
    )
    monkeypatch.chdir("/")
    text = BASE.replace("kind: multihop", "kind: 'mine.py:Mine', more: 2")
    (point,) = load_grid(write(tmp_path, text)).points
    assert point.run_id.startswith("mine-1x1-")
    (found,) = problems(tmp_path, text.replace("more", "moar"))
    assert "task.moar: unknown key (did you mean 'more'?)" in found


# --- changes ---------------------------------------------------------------------------------


def test_set_applies_to_every_run(tmp_path: Path) -> None:
    grid = load(tmp_path, "axes: {seed: [0, 1]}", "training.lr=5e-3", "model={core: 3, tied: true}")
    assert [p.config.training.lr for p in grid.points] == [5e-3, 5e-3]
    assert all(p.config.model.core == 3 and p.config.model.tied for p in grid.points)
    assert all(p.config.model.width == 64 for p in grid.points)


def test_set_of_an_axis_leaves_one_value_of_it(tmp_path: Path) -> None:
    grid = load(tmp_path, "axes: {seed: [0, 1], model.loops: [1, 2]}", "seed=7")
    assert [p.labels for p in grid.points] == [
        {"seed": "7", "model.loops": "1"},
        {"seed": "7", "model.loops": "2"},
    ]


@pytest.mark.parametrize("text", ["training.lr", "=3", "a..b=3", ""])
def test_set_needs_a_path_and_a_value(text: str) -> None:
    with pytest.raises(LoopscopeError, match="--set needs path=value"):
        command_line_changes([text])


def test_set_values_are_yaml() -> None:
    changes = command_line_changes(["a.b=1e-3", "c=[1, x]", "d=a=b", "e="])
    assert [(c.path, c.value) for c in changes] == [
        (("a", "b"), 0.001),
        (("c",), [1, "x"]),
        (("d",), "a=b"),
        (("e",), None),
    ]
    with pytest.raises(ConfigError, match=r"--set a=\[1.*is not valid YAML"):
        command_line_changes(["a=[1"])


def test_merge_goes_into_mappings_of_the_same_kind() -> None:
    base = {"kind": "a", "x": 1, "deep": {"p": 1, "q": [1, 2]}}
    before = copy.deepcopy(base)
    assert merge(base, {"x": 2}) == {"kind": "a", "x": 2, "deep": {"p": 1, "q": [1, 2]}}
    assert merge(base, {"kind": "a", "deep": {"q": [3]}})["deep"] == {"p": 1, "q": [3]}
    assert merge(base, {"kind": "b", "y": 1}) == {"kind": "b", "y": 1}
    assert merge(base, 3) == 3
    assert merge(None, {"x": 1}) == {"x": 1}
    assert base == before


def test_with_value_copies_what_it_changes() -> None:
    base = {"a": [{"b": 1}, {"b": 2}]}
    before = copy.deepcopy(base)
    assert with_value(base, ["a", "1", "b"], 3) == {"a": [{"b": 1}, {"b": 3}]}
    assert with_value(base, ["c", "d"], 3)["c"] == {"d": 3}
    assert base == before
    for path in (["a", "2", "b"], ["a", "x"], ["a", "0", "b", "c"]):
        with pytest.raises(ValueError, match="entries"):
            with_value(base, path, 0)


def test_holds_looks_into_mappings() -> None:
    data = {"a": [{"b": 1, "c": 2}]}
    assert contains(data, ("a", "0"), {"b": 1})
    assert not contains(data, ("a", "0"), {"b": 2})
    assert not contains(data, ("x", "y"), 1)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (0.004, "0.004"),
        (1e-5, "1e-05"),
        (0.1234567, "0.1234567"),
        (3, "3"),
        (True, "true"),
        (None, "none"),
        ("1⊗4", "1⊗4"),
        ([1, 2.0], "[1, 2]"),
        ({"kind": "x", "a": 1}, "x a=1"),
    ],
)
def test_labels(value: Any, label: str) -> None:
    assert label_of(value) == label


# --- what can be wrong -----------------------------------------------------------------------


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


def test_set_is_named_where_it_is_wrong(tmp_path: Path) -> None:
    found = problems(tmp_path, BASE, "model.widht=3", "seed=-1")
    assert found == [
        "--set model.widht=3: model.widht: unknown key (did you mean 'width'?)",
        "--set seed=-1: seed: should be greater than or equal to 0, got -1",
    ]


def test_labels_are_never_made_wrong_by_set(tmp_path: Path) -> None:
    axes = "axes: {arm: [{name: one, model.loops: 1}, {name: two, model.loops: 2}]}"
    (found,) = problems(tmp_path, BASE + axes, "model.loops=2")
    assert "9:39: model.loops: is overridden by a later axis or by --set" in found


def test_wrong_values_of_an_axis_are_each_reported_once(tmp_path: Path) -> None:
    found = problems(tmp_path, BASE + "axes: {seed: [0, 1, 2], model.width: [7, 64, 9]}")
    assert [line.partition(" ")[0] for line in found] == ["9:39:", "9:46:"]


# --- finding ---------------------------------------------------------------------------------


def test_grids_are_found_by_name_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, BASE, "mine.yaml")
    assert find_grid(str(path)) == path
    assert find_grid("quick") == SHIPPED / "quick.yaml"
    monkeypatch.chdir(tmp_path)
    assert load_grid("mine.yaml").name == "mine"


def test_an_unknown_grid_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(LoopscopeError, match=r"no grid 'quik' \(did you mean 'quick'\?\)"):
        find_grid("quik")
    with pytest.raises(LoopscopeError, match="there is no file"):
        find_grid(str(tmp_path / "quick.yaml"))
    with pytest.raises(LoopscopeError, match="cannot be read|there is no"):
        load_grid(tmp_path)


SHIPPED_GRIDS = sorted(SHIPPED.glob("*.yaml"))


def test_there_are_shipped_grids() -> None:
    assert SHIPPED / "quick.yaml" in SHIPPED_GRIDS


@pytest.mark.parametrize("path", SHIPPED_GRIDS, ids=lambda p: p.stem)
def test_every_shipped_grid_is_right(path: Path) -> None:
    grid = load_grid(path)
    assert grid.name == path.stem
    assert grid.title
    assert len(grid.points) > 0
    seen = [(p.part, json.dumps(p.labels)) for p in grid.points]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("path", SHIPPED_GRIDS, ids=lambda p: p.stem)
def test_every_shipped_grid_means_the_same_in_yaml_1_1(path: Path) -> None:
    """So that other programs that read the file see what we see, text and numbers apart."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, list):
            return [plain(v) for v in value]
        return value

    from experiments.grid.located_yaml import load_yaml

    theirs = plain(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert json.dumps(theirs) == json.dumps(load_yaml(path)[0])


def test_a_warm_up_beyond_its_phase_is_refused_with_the_line(tmp_path: Path) -> None:
    text = BASE.replace("until_step: 10", "until_step: 10, warmup: 40")
    assert text != BASE
    with pytest.raises(ConfigError) as refused:
        load_grid(write(tmp_path, text))
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "warmup" in row)
    assert f":{line}:" in str(refused.value) and "at 0.25 of its peak" in str(refused.value)
    load_grid(write(tmp_path, text.replace("warmup: 40", "warmup: 10")))
