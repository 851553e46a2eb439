"""Values set on the command line or by an axis, and the labels that points get of them."""

import copy
from pathlib import Path
from typing import Any

import pytest
from grid_files import BASE, load, problems

from experiments.errors import LoopscopeError
from experiments.grid.changes import command_line_changes, contains, merge, with_value
from experiments.grid.expansion import label_of
from experiments.grid.located_yaml import ConfigError


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
