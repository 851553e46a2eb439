"""A run that goes on with another one is the longer run, bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from toys import assert_same_run, science, trained, weights

from experiments.config.phases import Training
from experiments.config.run import Observe, RunConfig
from experiments.errors import LoopscopeError
from experiments.execution.stack_planner import reason_not_stackable
from experiments.grid.grid import load_grid
from experiments.grid.run_checks import problems
from experiments.measuring.load import load_model
from experiments.results.long_table import load_runs
from experiments.results.parquet import build_tables
from experiments.runs.folder import RunFolder
from experiments.training.train import train
from models.config import LoopedConfig
from models.objectives.entropy import Entropy
from models.objectives.gate import Gate

HOPS = {"kind": "multihop", "entities": 8, "relations": 4, "hops": 2}
JUNK = {
    "kind": "mixture",
    "components": {
        "useful": {"task": {"kind": "bios", "people": 30, "pools": "small"}},
        "junk": {"task": {"kind": "bios", "people": 90, "apart_from": 30, "pools": "small"}},
    },
    "exposures_of": "useful",
}
BIOD = {"kind": "biod", "people": 25}
TOTALS = ("steps", "documents", "tokens", "train_flops", "exposures")


def run_of(*phases: dict[str, Any], start: str | None = None, **changes: Any) -> RunConfig:
    training = {"batch": 16, "lr": 1e-2, "phases": phases} | changes.pop("training", {})
    fields: dict[str, Any] = {"task": HOPS, "start": start, "continued": start is not None}
    return toys.config(
        training=Training.model_validate(training),
        observe=Observe(probes=(), log_every=2, checkpoint_seconds=1000),
        **fields | changes,
    )


def moments(folder: RunFolder) -> dict[int, dict[str, torch.Tensor]]:
    return torch.load(folder.checkpoint_path, weights_only=True)["optimiser"]["state"]


def assert_same_end(long: RunFolder, later: RunFolder, first: int) -> None:
    """Weights and moments, the losses of the steps after the first, and what was used in all."""
    a, b = weights(long), weights(later)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    for i, own in moments(long).items():
        assert all(torch.equal(value, moments(later)[i][k]) for k, value in own.items())

    def told(folder: RunFolder) -> list[tuple]:
        keys = ("step", "loss", "lr", "tokens")
        return [tuple(line[k] for k in keys) for line in folder.metrics() if line["step"] > first]

    assert told(long) == told(later) and len(told(later)) == len(later.metrics()) > 0
    one, other = long.result() or {}, later.result() or {}
    assert {k: one[k] for k in TOTALS} == {k: other[k] for k in TOTALS}
    assert "lost_metrics" not in other and other["continued_from"] == first


STEPS = [{"until_step": 7}, {"until_step": 5}, [{"until_step": 12}]]
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "adamw": (STEPS, {}),
    "muon": (STEPS, {"training": {"optimiser": "muon"}}),
    "average": (STEPS, {"training": {"ema": 0.9}}),
    "gate": (STEPS, {"objective": Entropy(beta=0.1)}),
    "draws": (
        [
            {**phase, "draw": {"kind": "uniform", "most": 3, "per": "document"}}
            for phase in STEPS[:2]
        ]
        + [[{"until_step": 12, "draw": {"kind": "uniform", "most": 3, "per": "document"}}]],
        {},
    ),
    "schedules": (
        [
            {"until_step": 7, "warmup": 2, "decay": "linear"},
            {"until_step": 5, "lr": 5e-3, "decay": "sqrt"},
            [
                {"until_step": 7, "warmup": 2, "decay": "linear"},
                {"until_step": 12, "lr": 5e-3, "decay": "sqrt"},
            ],
        ],
        {},
    ),
    "difficulties": (
        [
            {"until_step": 7, "weights": {"1": 1}},
            {"until_step": 5},
            [{"until_step": 7, "weights": {"1": 1}}, {"until_step": 12}],
        ],
        {},
    ),
    "exposures": (
        [
            {"until_exposure": 3},
            {"until_exposure": 2},
            [{"until_exposure": 3}, {"until_exposure": 5}],
        ],
        {"task": BIOD},
    ),
    "mixture": (
        [
            {"until_step": 7, "weights": {"useful": 1, "junk": 3}},
            {"until_step": 5, "weights": {"useful": 2, "junk": 1}},
            [
                {"until_step": 7, "weights": {"useful": 1, "junk": 3}},
                {"until_step": 12, "weights": {"useful": 2, "junk": 1}},
            ],
        ],
        {"task": JUNK},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_going_on_is_the_longer_run(tmp_path: Path, case: str) -> None:
    (early, late, both), changes = CASES[case]
    first = trained(tmp_path, run_of(early, **changes))
    steps = (first.result() or {})["steps"]
    later = trained(tmp_path, run_of(late, start=first.run_id, **changes))
    long = trained(tmp_path / "long", run_of(*both, **changes))
    assert_same_end(long, later, steps)
    assert f"goes on with {first.run_id} from step {steps}" in (later.path / "log.txt").read_text()


def test_a_run_that_went_on_goes_on(tmp_path: Path) -> None:
    one = trained(tmp_path, run_of({"until_step": 3, "weights": {"1": 1}}))
    two = trained(tmp_path, run_of({"until_step": 4}, start=one.run_id))
    three = trained(tmp_path, run_of({"until_step": 5}, start=two.run_id))
    phases = {"until_step": 3, "weights": {"1": 1}}, {"until_step": 12}
    assert_same_end(trained(tmp_path / "long", run_of(*phases)), three, 7)


def test_the_weights_alone_are_another_run(tmp_path: Path) -> None:
    """A control: fresh moments and the documents from the beginning."""
    first = trained(tmp_path, run_of(STEPS[0]))
    alone = trained(tmp_path, run_of(STEPS[1], start=first.run_id, continued=False))
    later = trained(tmp_path, run_of(STEPS[1], start=first.run_id))
    a, b = weights(alone), weights(later)
    assert not torch.equal(a["embedding.weight"], b["embedding.weight"])
    assert (alone.result() or {})["steps"] == 5 and "continued_from" not in (alone.result() or {})
    assert len({alone.run_id, later.run_id, first.run_id, run_of(STEPS[1]).run_id}) == 4


@pytest.mark.parametrize("stops", [(1,), (3, 1)])
def test_a_continued_run_is_stopped_and_resumed(tmp_path: Path, stops: tuple[int, ...]) -> None:
    first = trained(tmp_path / "a", run_of(STEPS[0]))
    later = run_of({**STEPS[1], "warmup": 2}, start=first.run_id)
    straight = trained(tmp_path / "a", later)
    trained(tmp_path / "b", run_of(STEPS[0]))
    assert_same_run(straight, trained(tmp_path / "b", later, *stops))


def test_a_core_grows_with_the_moments_that_it_had(tmp_path: Path) -> None:
    def model(core: int) -> LoopedConfig:
        return LoopedConfig(width=16, heads=2, core=core)

    first = trained(tmp_path, run_of({"until_step": 7}, model=model(1)))
    grows = {"until_step": 5, "growth": "stack"}
    later = trained(tmp_path, run_of(grows, start=first.run_id, model=model(2)))
    phases = {"until_step": 7, "core": 1}, {**grows, "until_step": 12}
    long = trained(tmp_path / "long", run_of(*phases, model=model(2)))
    a, b = weights(long), weights(later)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert load_model(tmp_path, later.run_id)[0].config.core == 2


def test_goals_count_from_where_it_goes_on(tmp_path: Path) -> None:
    goal = {"level": 1e-9, "split": "train", "difficulties": [1], "every": 2, "items": 8}
    gated = {"until_step": 9, "until_accuracy": {**goal, "level": 1e-3}}
    first = trained(tmp_path, run_of({**gated, "weights": {"1": 1}}))
    assert (first.result() or {})["steps"] < 9
    later = trained(tmp_path, run_of(gated, {"until_step": 12}, start=first.run_id))
    began = (first.result() or {})["steps"]
    (reached,) = (later.result() or {})["goals"]
    assert (reached["phase"], reached["step"]) == (0, began + 2)
    assert (later.result() or {})["steps"] == began + 2 + 3


def test_another_task_seed_or_optimiser_is_refused(tmp_path: Path) -> None:
    first = trained(tmp_path, run_of(STEPS[0], objective=Entropy(beta=0.1)))
    other = {**HOPS, "held_out": 0.3}
    for changes, says in (
        ({"task": other}, "has another task; a continued run shows the documents that follow"),
        ({"seed": 1}, "has another seed"),
        ({"training": {"optimiser": "muon"}}, "optimiser of start .* has other parameters"),
        ({"objective": Gate()}, "optimiser of start .* has other parameters"),
    ):
        fields = {"objective": Entropy(beta=0.1)} | changes
        run = run_of(STEPS[1], start=first.run_id, **fields)
        with pytest.raises(LoopscopeError, match=says):
            train(run, RunFolder(tmp_path / run.run_id))


def test_what_cannot_go_on_is_said_before(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="continued needs start"):
        run_of(STEPS[0], continued=True)
    run = run_of({"until_exposure": 3}, start="mixture-1x2-0123456789ab", task=JUNK)
    ((at, message),) = problems(run)
    assert at == ("training", "phases", "0", "until_exposure") and "use until_step" in message
    assert "begins at the step" in reason_not_stackable(run_of(STEPS[0], start=run.start))
    assert reason_not_stackable(run_of(STEPS[0])) == ""


def test_a_grid_names_what_goes_on_by_its_labels(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(
        "baseline:\n"
        "  task: {kind: multihop, entities: 8, relations: 4, hops: 2}\n"
        "  model: {width: 16, heads: 2}\n"
        "  training: {batch: 16, phases: [{until_step: 7}]}\n"
        "axes:\n"
        "  arm:\n"
        "    - {name: first}\n"
        "    - {name: more, start: {arm: first}, continued: true}\n"
    )
    first, more = (point.config for point in load_grid(path).points)
    assert more.start == first.run_id and more.continued and not first.continued
    trained(tmp_path, first)
    result = science(trained(tmp_path, more))
    assert result["steps"] == 14 and result["continued_from"] == 7


def test_seeds_that_went_on_with_their_own_run_are_one_cell(tmp_path: Path) -> None:
    """And those that went on with another kind of run are another one."""
    cells = []
    for rate in (1e-2, 2e-2):
        for seed in (0, 1):
            first = run_of(STEPS[0], seed=seed, training={"lr": rate})
            more = run_of(STEPS[1], start=first.run_id, seed=seed)
            for run in (first, more):
                folder = trained(tmp_path, run)
            cells.append((rate, folder.run_id))
    table = load_runs(tmp_path).set_index("run_id")["cell"]
    found = [table.loc[name] for _, name in cells]
    assert found[0] == found[1] != found[2] == found[3]
    index = build_tables(tmp_path).tables.runs.to_pylist()
    assert {row["run_id"]: row["cell"] for row in index} == table.to_dict()
