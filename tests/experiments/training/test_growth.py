"""Growth inside a run: what stays as it was, what is recorded, and that it resumes bit for bit."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import stop_after, trained

from experiments.config.costs import cost
from experiments.config.run import Observe, RunConfig
from experiments.errors import LoopscopeError
from experiments.grid.grid import load_grid
from experiments.grid.run_checks import problems
from experiments.measuring.load import load_model
from experiments.runs.folder import RunFolder
from experiments.training.growth import grow_if_due
from experiments.training.train import train
from experiments.training.trainer import Trainer
from generators.multihop import MultiHop

FIRST, LAST = 6, 11
SMALL = {"until_step": FIRST, "core": 1, "loops": 4}
GROWN = {"until_step": LAST, "growth": "stack"}


def config(*phases: dict[str, Any], **changes: Any) -> RunConfig:
    fields = {
        "task": MultiHop(entities=8, relations=4, hops=2),
        "model": {"width": 16, "heads": 2, "core": 2, "loops": 2} | changes.pop("model", {}),
        "training": {"batch": 8, "lr": 4e-3, "phases": phases or (SMALL, GROWN)},
        "observe": Observe(probes=(), log_every=1, checkpoint_seconds=1000),
    }
    return RunConfig.model_validate(fields | changes)


def state(folder: RunFolder) -> dict[str, Any]:
    return torch.load(folder.checkpoint_path, weights_only=True)


def lines(folder: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in folder.metrics()]


def growth(folder: RunFolder) -> dict[str, Any]:
    (record,) = (line["growth"] for line in lines(folder) if "growth" in line)
    result = folder.result()
    assert result is not None and result["growth"] == [record]
    return record


@pytest.mark.parametrize("norm", [False, True])
def test_only_a_lost_norm_changes_the_loss_of_the_same_batch(tmp_path: Path, norm: bool) -> None:
    """1⊗4 and 2⊗2 stacked run the same four blocks in the same order."""
    folder = trained(tmp_path, config(model={"norm_between_loops": norm}))
    record = growth(folder)
    assert (record["from"], record["to"], record["mapping"]) == ("1⊗4", "2⊗2", [0, 0])
    change = record["last_loop_after"] - record["last_loop_before"]
    assert record["loss_after"] - record["loss_before"] == change, "last_loop is that loss"
    assert (abs(change) > 1e-5) if norm else change == 0, change
    first = next(line for line in lines(folder) if line["step"] == FIRST + 1 and "loss" in line)
    assert first["loss"] == record["loss_after"], "which the first step computes again"


def test_before_it_grows_a_run_is_the_small_model_trained_alone(tmp_path: Path) -> None:
    small = config({"until_step": FIRST}, model={"core": 1, "loops": 4})
    alone, grown = trained(tmp_path, small), trained(tmp_path, config())
    assert lines(grown)[:FIRST] == lines(alone)


@pytest.mark.parametrize("stop", [1, FIRST - 1, FIRST, FIRST + 1, LAST - 1])
def test_stopped_and_resumed_across_growth_is_the_same_run(tmp_path: Path, stop: int) -> None:
    whole, parts = trained(tmp_path / "a", config()), trained(tmp_path / "b", config(), stop)
    one, other = state(whole), state(parts)
    assert all(torch.equal(one["model"][name], other["model"][name]) for name in one["model"])
    assert repr(one["optimiser"]) == repr(other["optimiser"])
    assert lines(whole) == lines(parts) and growth(whole) == growth(parts)


def test_a_copy_takes_over_the_moments_of_its_origin(tmp_path: Path) -> None:
    trainer = Trainer(config({"until_step": FIRST, "core": 2}, GROWN, model={"core": 4}), "cpu")
    for _ in range(FIRST):
        trainer.step(trainer.spans[0])
    old = dict(trainer.model.named_parameters())
    before = {name: dict(trainer.optimiser.state[p]) for name, p in old.items()}
    assert grow_if_due(trainer, trainer.spans[1]) is not None
    new = dict(trainer.model.named_parameters())
    for layer, source in enumerate((0, 1, 0, 1)):
        found = trainer.optimiser.state[new[f"core.{layer}.mlp.up.weight"]]
        wanted = before[f"core.{source}.mlp.up.weight"]
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert found["step"] == FIRST and found["exp_avg"].abs().max() > 0
    kept = trainer.optimiser.state[new["embedding.weight"]]["exp_avg"]
    assert torch.equal(kept, before["embedding.weight"]["exp_avg"])


def test_everything_is_counted_with_the_shape_it_had(tmp_path: Path) -> None:
    run = config()
    assert run.run_id.startswith("multihop-2x2-")
    result = trained(tmp_path, run).result()
    assert result is not None
    plain = config({"until_step": LAST})
    assert result["parameters"] == cost(plain).parameters == cost(run).parameters
    assert (result["k"], result["n_loops"], result["label"]) == (2, 2, "2⊗2")
    # 1⊗4 and 2⊗2 apply as many blocks
    assert cost(run).train_flops == cost(plain).train_flops
    uneven = config(SMALL | {"loops": 1}, GROWN)
    parts = [
        cost(config({"until_step": FIRST}, model={"core": 1, "loops": 1})).train_flops,
        cost(config({"until_step": LAST - FIRST})).train_flops,
    ]
    assert cost(uneven).train_flops == pytest.approx(sum(parts), rel=1e-6)
    spent = trained(tmp_path, uneven).result()
    assert spent is not None
    assert spent["train_flops"] == pytest.approx(sum(parts), rel=0.02)
    assert len({run.run_id, uneven.run_id, plain.run_id}) == 3


def test_a_model_is_loaded_in_the_shape_its_checkpoint_has(tmp_path: Path) -> None:
    run = config()
    folder = RunFolder(tmp_path / run.run_id)
    assert not train(run, folder, stop=stop_after(FIRST))
    assert load_model(tmp_path, run.run_id)[0].config.label == "1⊗4"
    assert train(run, folder)
    assert load_model(tmp_path, run.run_id)[0].config.label == "2⊗2"


@pytest.mark.parametrize("objective", ["last_loop", "entropy", "act"])
def test_growth_from_a_finished_run(tmp_path: Path, objective: str) -> None:
    shape = {"core": 1, "loops": 4, "norm_between_loops": False}
    small = config({"until_step": FIRST}, model=shape, objective={"kind": objective})
    first = trained(tmp_path, small)
    run = config(
        {"until_step": 3, "growth": "stack"},
        model={"norm_between_loops": False},
        objective={"kind": objective},
        start=first.run_id,
    )
    folder = trained(tmp_path, run)
    record = growth(folder)
    assert record["step"] == 1 and record["from"] == "1⊗4"
    if objective == "last_loop":
        assert record["last_loop_after"] == record["last_loop_before"]
    straight = growth(trained(tmp_path, config(model={"norm_between_loops": False})))
    assert straight["last_loop_before"] != record["last_loop_before"], "another batch"
    wider = config({"until_step": 3, "growth": "stack"}, model={"width": 32}, start=first.run_id)
    with pytest.raises(LoopscopeError, match="differ in core and loops alone"):
        train(wider, RunFolder(tmp_path / wider.run_id))
    third = config(
        {"until_step": 3, "growth": "stack"},
        model={"norm_between_loops": False, "core": 3},
        start=run.run_id,
    )
    with pytest.raises(LoopscopeError, match="a core of 2 cannot grow to 3"):
        train(third, RunFolder(tmp_path / third.run_id))


@pytest.mark.parametrize(
    ("phases", "model", "where", "says"),
    [
        ([SMALL, GROWN | {"growth": None}], {}, "1", "1 layers in the phase before and 2 in this"),
        ([SMALL, GROWN], {"residual_scale": 2.0}, "0", "residual_scale weighs layers by how many"),
        ([SMALL, GROWN], {"norm": "deepnorm"}, "0", "deepnorm weighs layers by how many"),
        ([SMALL, GROWN], {"core": 3, "reuse": [0, 1, 2, 0]}, "0", "reuse .* cannot grow"),
        ([SMALL | {"core": 2}, GROWN], {"core": 3}, "1", "makes a multiple"),
        ([SMALL | {"core": 2}, GROWN], {}, "0.core", "less than model.core 2.*got 2"),
        ([SMALL], {}, "0.core", "a later phase has to grow"),
        ([{"until_step": 3}, GROWN], {}, "1", "goes with no other step"),
        ([GROWN], {}, "0.growth", "nothing to copy unless `start`"),
    ],
)
def test_impossible_growth_names_the_setting(
    phases: list, model: dict, where: str, says: str
) -> None:
    found = [(".".join(at), message) for at, message in problems(config(*phases, model=model))]
    assert found and found[0][0] == f"training.phases.{where}", found
    assert re.search(says, found[0][1]), found
    assert not list(problems(config()))


def test_the_shipped_grid_grows(tmp_path: Path) -> None:
    tiny = ("task.entities=8", "task.relations=4", "model.width=16", "model.heads=1")
    grid = load_grid("growth", (*tiny, "training.batch=16", "observe.probes=[]", "seed=0"))
    assert grid.points
    for point in grid.points:
        phases = tuple(
            p.model_copy(update={"until_step": 3 * (i + 1), "warmup": 0})
            for i, p in enumerate(point.config.training.phases)
        )
        training = point.config.training.model_copy(update={"phases": phases})
        run = point.config.model_copy(update={"training": training, "observe": Observe(probes=())})
        folder = trained(tmp_path, run)
        if phases[1].growth is None:
            continue
        record = growth(folder)
        change = abs(record["last_loop_after"] - record["last_loop_before"])
        assert change > 0 if run.model.norm_between_loops else change == 0


def test_copies_of_a_layer_go_on_with_moments_of_their_own() -> None:
    """Tensors that copies shared would be updated once for each of them in every step."""
    trainer = Trainer(config(), "cpu")
    for _ in range(FIRST):
        trainer.step(trainer.spans[0])
    assert grow_if_due(trainer, trainer.spans[1]) is not None
    moments = [t for state in trainer.optimiser.state.values() for t in state.values()]
    assert len({t.data_ptr() for t in moments}) == len(moments)
