"""Grids expand into a fixed order, and whatever can be wrong is found before a run starts."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from grid_files import BASE, load, problems, write

from experiments.errors import LoopscopeError
from experiments.grid.grid import SHIPPED, find_grid, load_grid

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


@pytest.mark.slow
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
