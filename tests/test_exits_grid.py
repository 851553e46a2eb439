"""The shipped grid of exit distributions at toy size: collapse, cure, starvation."""

import math
from pathlib import Path

import pytest

from experiments.grid import load_grid
from experiments.store import RunFolder
from experiments.train import train

STEPS = 80
TOY = (
    "task.entities=8",
    "task.relations=4",
    "task.hops=2",
    "model.width=16",
    "model.heads=1",
    "training.batch=32",
    f"training.phases.0.until_step={STEPS}",
    "training.phases.0.warmup=5",
    "observe.probes=[]",
)


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """Arm -> the last logged line of its toy run, under a strong β so that few steps are enough."""
    out: Path = tmp_path_factory.mktemp("exits")
    found = {}
    for point in load_grid("exits", TOY).points:
        objective = point.config.objective
        if point.labels["arm"] != "none":
            objective = objective.model_copy(update={"beta": 2.0})
        config = point.config.model_copy(update={"objective": objective})
        folder = RunFolder(out / config.run_id)
        assert train(config, folder)
        found[point.labels["arm"]] = folder.metrics()[-1]
    return found


def test_the_uniform_prior_keeps_the_exits_apart(last: dict[str, dict[str, float]]) -> None:
    assert last["uniform"]["exit_entropy"] > 0.97 * math.log(4)
    assert last["none"]["exit_entropy"] < last["uniform"]["exit_entropy"]


def test_the_geometric_prior_starves_late_loops(last: dict[str, dict[str, float]]) -> None:
    uniform, mild, strong = (last[arm] for arm in ("uniform", "geometric 0.3", "geometric 0.7"))
    assert strong["mean_exit"] < mild["mean_exit"] < uniform["mean_exit"]
    assert strong["exit.4"] < mild["exit.4"] < uniform["exit.4"]


def test_the_whole_grid_is_the_same_model(last: dict[str, dict[str, float]]) -> None:
    points = load_grid("exits").points
    assert set(last) == {point.labels["arm"] for point in points}
    assert len({point.config.model for point in points}) == 1
