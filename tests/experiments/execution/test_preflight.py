"""Grids that cannot be meant: true for a number, too many points, names that no disk takes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.grid.expansion import MOST_POINTS
from experiments.grid.grid import load_grid
from experiments.grid.located_yaml import ConfigError

BASELINE: dict[str, Any] = {
    "task": {"kind": "multihop"},
    "model": {"width": 16, "heads": 2},
    "training": {"batch": 4, "phases": [{"until_step": 3}]},
}


def grid(folder: Path, **fields: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"baseline": BASELINE, **fields}))
    return path


@pytest.mark.parametrize(
    "path",
    [
        "seed",
        "training.lr",
        "training.betas.1",
        "training.phases.0.until_step",
        "task.world_seed",
        "task.hops",
        "model.loops",
    ],
)
@pytest.mark.parametrize("value", ["true", "false"])
def test_a_truth_is_no_number(tmp_path: Path, path: str, value: str) -> None:
    overrides = ["training.betas=[0.9, 0.9]", f"{path}={value}"]
    with pytest.raises(ConfigError) as error:
        load_grid(grid(tmp_path), overrides)
    problems = error.value.problems
    assert [".".join(problem.location) for problem in problems] == [path]


def test_weights_and_probes_are_looked_into(tmp_path: Path) -> None:
    overrides = [
        "training.phases.0.weights={1: 1, 2: true}",
        "observe.probes=[{kind: accuracy, items: true}]",
    ]
    with pytest.raises(ConfigError) as error:
        load_grid(grid(tmp_path), overrides)
    found = {".".join(problem.location) for problem in error.value.problems}
    assert found == {"training.phases.0.weights.2", "observe.probes.0.items"}


def test_a_truth_where_one_is_wanted(tmp_path: Path) -> None:
    (run,) = load_grid(grid(tmp_path), ["training.recompute=true"]).runs.values()
    assert run.training.recompute is True


@pytest.mark.parametrize("betas", ["[1, 0.9]", "[0.9, 1]", "[-0.1, 0.9]"])
def test_betas_that_adamw_refuses(tmp_path: Path, betas: str) -> None:
    with pytest.raises(ConfigError, match="training.betas"):
        load_grid(grid(tmp_path), [f"training.betas={betas}"])


def test_more_points_than_can_be_checked(tmp_path: Path) -> None:
    axes = {f"axis{i}": [{"name": str(j)} for j in range(10)] for i in range(9)}
    message = f"1,000,000,000 points so far, and a grid has at most {MOST_POINTS:,}"
    with pytest.raises(ConfigError, match=message):
        load_grid(grid(tmp_path, axes=axes))


def test_a_name_longer_than_names_of_files(tmp_path: Path) -> None:
    assert load_grid(grid(tmp_path, name="n" * 120)).name == "n" * 120
    with pytest.raises(ConfigError, match="at most 120 characters"):
        load_grid(grid(tmp_path, name="n" * 121))


@pytest.mark.parametrize("device", ["nope", "meta", "mps", "cuda:x", "cuda:²", ""])
def test_devices_that_nothing_is_trained_on(device: str) -> None:
    found = CliRunner().invoke(app, ["calibrate", "--device", device])
    assert found.exit_code == 2 and "needs cpu, cuda or one of several" in found.output


def test_a_digit_that_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="counted from 0; got '²'"):
        load_grid(grid(tmp_path), ["training.phases.².lr=1"])
