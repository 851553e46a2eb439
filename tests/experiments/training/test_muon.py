"""Muon against singular values in float64, torch's own, and runs that stop, stack and grow."""

from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from joint import compare, trainer_of
from torch import Tensor, nn
from toys import assert_same_run, config, stop_after, trained

from experiments.config.phases import Phase, Span, Training
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.execution.stack_planner import stack_key
from experiments.runs.folder import RunFolder
from experiments.training.growth import grow_if_due
from experiments.training.joint_step import JointRuns
from experiments.training.muon import Muon, orthogonalised
from experiments.training.optimiser import build_optimiser, parameter_groups, set_learning_rates
from experiments.training.train import train
from experiments.training.trainer import Trainer
from models.adapter import ForeignModel
from models.config import LoopedConfig

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gelu-tied": {"norm": "pre", "mlp": "gelu", "tied": True},
    "ends": {"prelude": 1, "coda": 1, "loop_embedding": "learned"},
    "concat": {"injection": "concat"},
    "experts": {"mlp": "moe", "experts": 3},
    "learned": {"positions": "learned", "context": 8},
}


def muon(**changes: Any) -> Training:
    fields: dict[str, Any] = {"batch": 16, "lr": 4e-3, "muon_lr": 2e-2, "optimiser": "muon"}
    fields["phases"] = (Phase(until_step=8, warmup=2, decay="sqrt"),)
    return Training.model_validate(fields | changes)


def by_singular_values(matrix: Tensor) -> Tensor:
    """Keeps the singular vectors and maps the singular values themselves."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.norm()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ torch.diag_embed(s) @ v


# --- one step


@pytest.mark.parametrize("shape", [(6, 6), (6, 15), (15, 6), (1, 4), (4, 1)])
def test_singular_values_pass_through_the_quintic(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    given = torch.randn(3, *shape, dtype=torch.float64)
    given[1] *= 1e-3
    found = orthogonalised(given)
    for one, matrix in zip(found, given, strict=True):
        assert torch.allclose(one, by_singular_values(matrix), atol=1e-12)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6 and values.max() < 1.2
    assert torch.equal(orthogonalised(torch.zeros(1, 3, 4)), torch.zeros(1, 3, 4))


@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 24)])
def test_steps_are_those_of_torchs_muon_up_to_its_half_precision(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    start = torch.randn(shape)
    mine, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    settings = {"lr": 0.02, "weight_decay": 0.1}
    one = Muon([{"params": [mine], "parts": 1, "momentum": 0.9} | settings])
    other = torch.optim.Muon([theirs], momentum=0.9, **settings)
    for _ in range(5):
        mine.grad = torch.randn(shape)
        theirs.grad = mine.grad.clone()
        one.step()
        other.step()
    moved = (theirs - start).norm()
    assert (mine - theirs).norm() < 0.02 * moved
    state = other.state[theirs]["momentum_buffer"]
    assert torch.equal(one.state[mine]["momentum"], state)


@pytest.mark.parametrize(("parts", "rows"), [(3, 6), (2, 16), (1, 6)])
def test_matrices_below_each_other_are_made_orthogonal_apart(parts: int, rows: int) -> None:
    """Momentum, decay and scale as in the formula, each matrix by itself."""
    torch.manual_seed(2)
    parameter = nn.Parameter(torch.randn(parts * rows, 6, dtype=torch.float64))
    wanted = list(parameter.detach().clone().chunk(parts))
    momentum = [torch.zeros_like(w) for w in wanted]
    group = {"params": [parameter], "parts": parts, "momentum": 0.8, "lr": 0.1, "weight_decay": 0.5}
    optimiser = Muon([group])
    for _ in range(3):
        parameter.grad = torch.randn_like(parameter)
        for i, grad in enumerate(parameter.grad.chunk(parts)):
            momentum[i] = 0.8 * momentum[i] + 0.2 * grad
            moved = by_singular_values(0.2 * grad + 0.8 * momentum[i])
            wanted[i] = 0.95 * wanted[i] - 0.1 * sqrt(max(1, rows / 6)) * moved
        optimiser.step()
    assert torch.allclose(parameter, torch.cat(wanted), atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_is_in_one_group_and_muon_has_the_matrices_of_layers(variant: str) -> None:
    shape = LoopedConfig.model_validate({"width": 16, "heads": 2} | VARIANTS[variant])
    model = shape.build(9, gate=True, seed=0)
    groups = parameter_groups(model, muon())
    parts = {id(p): group.get("parts", 0) for group in groups for p in group["params"]}
    assert len(parts) == sum(len(group["params"]) for group in groups)
    assert parts.keys() == {id(p) for p in model.parameters()}
    for name, parameter in model.named_parameters():
        inside = name.startswith(("prelude.", "core.", "coda.")) and parameter.dim() == 2
        gated = 1 if shape.mlp == "gelu" else 2
        kinds = {"qkv": 3, "out": 1, "up": gated, "down": 1, "router": 0}
        wanted = kinds[name.split(".")[-2]] if inside else 0
        assert parts[id(parameter)] == wanted, name
        decayed = next(g for g in groups if any(p is parameter for p in g["params"]))
        assert decayed["weight_decay"] == (0.1 if parameter.dim() == 2 else 0.0)


def test_the_rest_moves_as_under_adamw() -> None:
    run = config(training=muon())
    one, other = Trainer(run, "cpu"), Trainer(run, "cpu")
    other.optimiser = build_optimiser(other.model, muon(optimiser="adamw"))
    for trainer in (one, other):
        trainer.step(trainer.spans[0])
    matrices = {id(p) for p in one.model.hidden_matrices()}
    for mine, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine, theirs) == (id(mine) not in matrices)


def test_both_rates_follow_the_schedule_of_their_phase() -> None:
    phase = Phase(until_step=12, warmup=4, decay="linear", lr=8e-3)
    span = Span(phase=phase, first_step=0, last_step=12, first_document=0, last_document=1)
    groups: list[dict[str, Any]] = [{}, {"parts": 3}]
    for step, share in ((0, 0.25), (3, 1.0), (4, 1.0), (8, 0.5)):
        set_learning_rates(groups, span, muon(phases=(phase,)), step)
        assert [g["lr"] for g in groups] == pytest.approx([8e-3 * share, 4e-2 * share])


def test_a_model_of_other_layers_says_which_matrices_are_inside() -> None:
    class Mine(ForeignModel):
        def hidden_matrices(self) -> dict[Tensor, int]:
            return {self.module.weight: 1}  # type: ignore[dict-item]

    shape, module = LoopedConfig(), nn.Module()
    module.weight = nn.Parameter(torch.eye(4))  # of no linear map that could be found
    module.forward = lambda tokens, n_loops: [tokens] * n_loops
    with pytest.raises(LoopscopeError, match="hidden_matrices.*or take adamw"):
        parameter_groups(ForeignModel(module, shape), muon())
    matrices = [g["params"] for g in parameter_groups(Mine(module, shape), muon()) if "parts" in g]
    assert len(matrices) == 1 and matrices[0][0] is module.weight


# --- runs


def test_ids_know_the_optimiser_and_only_the_settings_that_it_reads() -> None:
    plain = config()
    ids = [plain, config(training=muon()), config(training=muon(muon_lr=0.1))]
    ids += [config(training=muon(muon_momentum=0.5))]
    assert len({run.run_id for run in ids}) == 4
    unread = plain.training.model_copy(update={"muon_lr": 0.5, "muon_momentum": 0.1})
    assert config(training=unread).run_id == plain.run_id == "multihop-1x2-9dc2f20387db"


@pytest.mark.parametrize("stops", [(1,), (3, 1, 2), (8,)])
def test_stopped_and_resumed_is_the_same_run(tmp_path: Path, stops: tuple[int, ...]) -> None:
    run = config(training=muon())
    assert_same_run(trained(tmp_path / "a", run), trained(tmp_path / "b", run, *stops))


def test_work_after_the_checkpoint_is_done_again_with_its_momentum(tmp_path: Path) -> None:
    run = config(training=muon())
    straight = trained(tmp_path / "a", run)
    folder = RunFolder(tmp_path / "b" / run.run_id)
    assert not train(run, folder, stop=stop_after(3))
    kept = torch.load(folder.checkpoint_path, weights_only=True)
    momenta = [s["momentum"] for s in kept["optimiser"]["state"].values() if "momentum" in s]
    assert len(momenta) == 4 and all(m.abs().max() > 0 for m in momenta)
    assert not train(run, folder, stop=stop_after(3))
    torch.save(kept, folder.checkpoint_path)  # as after a crash: the log is ahead
    assert train(run, folder)
    assert_same_run(straight, folder)


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "experts"])
def test_joint_training_equals_separate_training(variant: str) -> None:
    shape = LoopedConfig.model_validate({"width": 16, "heads": 2, "loops": 3} | VARIANTS[variant])
    compare([config(seed, model=shape, training=muon()) for seed in (3, 4)], torch.float64, 1e-9)


def test_each_run_of_a_joint_step_has_its_own_rates() -> None:
    rates = [(lr, own, decay) for lr in (1e-3, 4e-3) for own in (1e-2, 3e-2) for decay in (0, 0.1)]
    runs = [
        config(seed, training=muon(lr=lr, muon_lr=own, weight_decay=decay))
        for seed, (lr, own, decay) in enumerate(rates)
    ]
    assert len({stack_key(run) for run in runs}) == 1
    assert stack_key(runs[0]) != stack_key(config(training=muon(optimiser="adamw")))
    compare(runs, torch.float64, 1e-9)


def test_runs_go_on_alone_with_the_momentum_of_the_joint_steps() -> None:
    runs = [config(seed, training=muon()) for seed in (1, 2)]
    joint = [trainer_of(run, torch.float64) for run in runs]
    alone = [trainer_of(run, torch.float64) for run in runs]
    stack = JointRuns(joint)
    for _ in range(2):
        stack.step(0)
    stack.part()
    for one, other in zip(joint, alone, strict=True):
        one.step(one.spans[0])
        for _ in range(3):
            other.step(other.spans[0])
        for mine, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
            assert torch.allclose(mine, theirs, atol=1e-9)


def test_a_layer_that_is_copied_goes_on_with_its_momentum() -> None:
    phases = ({"until_step": 3, "core": 1, "loops": 2}, {"until_step": 6, "growth": "stack"})
    run = RunConfig.model_validate(
        config().model_dump()
        | {"model": {"width": 16, "heads": 2, "core": 2}, "training": muon(phases=phases)}
    )
    trainer = Trainer(run, "cpu")
    for _ in range(3):
        trainer.step(trainer.spans[0])
    old = trainer.optimiser.state[dict(trainer.model.named_parameters())["core.0.mlp.up.weight"]]
    assert grow_if_due(trainer, trainer.spans[1]) is not None
    new = dict(trainer.model.named_parameters())
    copies = [trainer.optimiser.state[new[f"core.{i}.mlp.up.weight"]] for i in (0, 1)]
    for copy in copies:
        assert torch.equal(copy["momentum"], old["momentum"]) and copy["step"] == 3
    assert len({copy["momentum"].data_ptr() for copy in copies}) == 2
    trainer.step(trainer.spans[1])
    assert all(copy["step"] == 4 for copy in copies)
