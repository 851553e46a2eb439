"""The shipped grid of exit distributions at toy size: collapse, cure, starvation."""

import math
from pathlib import Path

import pytest
import torch

from experiments.grid.grid import load_grid
from experiments.measuring.load import load_trained
from experiments.runs.folder import RunFolder
from experiments.training.inputs import model_inputs
from experiments.training.train import train
from generators.streams import Stream, generator
from models.objectives.gate import Gate

pytestmark = pytest.mark.slow

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
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """Arm -> its toy run, under a strong β so that few steps are enough."""
    out: Path = tmp_path_factory.mktemp("exits")
    found: dict[str, RunFolder] = {}
    renamed: dict[str, str] = {}  # a run has another id with another β
    for point in load_grid("exits", TOY).points:
        config, objective = point.config, point.config.objective
        if objective.kind == "prior":
            objective = objective.model_copy(update={"beta": 2.0})
        start = renamed.get(config.start or "")
        config = config.model_copy(update={"objective": objective, "start": start})
        renamed[point.run_id] = config.run_id
        folder = RunFolder(out / config.run_id)
        assert train(config, folder)
        found[point.labels["arm"]] = folder
    return found


@pytest.fixture(scope="module")
def last(runs: dict[str, RunFolder]) -> dict[str, dict[str, float]]:
    """Arm -> the last logged line of its run."""
    return {arm: folder.metrics()[-1] for arm, folder in runs.items()}


def test_the_uniform_prior_keeps_the_exits_apart(last: dict[str, dict[str, float]]) -> None:
    assert last["uniform"]["exit_entropy"] > 0.97 * math.log(4)
    assert last["none"]["exit_entropy"] < last["uniform"]["exit_entropy"]


def test_the_geometric_prior_starves_late_loops(last: dict[str, dict[str, float]]) -> None:
    uniform, mild, strong = (last[arm] for arm in ("uniform", "geometric 0.3", "geometric 0.7"))
    assert strong["mean_exit"] < mild["mean_exit"] < uniform["mean_exit"]
    assert strong["exit.4"] < mild["exit.4"] < uniform["exit.4"]


def test_stage_two_trains_the_gate_of_the_model_it_starts_from(runs: dict[str, RunFolder]) -> None:
    before, after = (load_trained(runs[arm], "cpu")[0] for arm in ("uniform", "stage II"))
    weights = before.state_dict()
    changed = {k for k, v in after.state_dict().items() if not torch.equal(weights[k], v)}
    assert changed == {"gate.weight", "gate.bias"}
    task = runs["uniform"].config().bound_task()
    batch = task.sample(generator(1, Stream.EVALUATION, 0), 512)
    inputs, at, targets = model_inputs(batch, torch.device("cpu"))
    with torch.no_grad():
        losses = [float(Gate().loss(m(inputs), at, targets).total) for m in (before, after)]
    assert losses[1] < losses[0]


@pytest.mark.parametrize("override", ["seed=3", "model.width=32", "training.lr=1e-3"])
def test_stage_two_follows_whatever_is_set(override: str) -> None:
    points = {p.labels["arm"]: p for p in load_grid("exits", (override,)).points}
    assert points["stage II"].config.start == points["uniform"].run_id
    assert points["uniform"].run_id != load_grid("exits").points[1].run_id


def test_the_whole_grid_is_the_same_model(last: dict[str, dict[str, float]]) -> None:
    points = load_grid("exits").points
    assert set(last) == {point.labels["arm"] for point in points}
    assert len({point.config.model for point in points}) == 1
