"""Objectives that run loops by themselves, and distillation between loops, against definitions."""

from typing import Any

import pytest
import torch
from reference_transformer import V, build, joined, plain_loop, rms, tokens, weight
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from variant_shapes import variant

from experiments.config.run import RunConfig
from experiments.grid.run_checks import problems
from models.config import LoopedConfig
from models.objectives.fixed_point import FixedPoint
from models.objectives.jacobian import Jacobian
from models.objectives.objective import Objective
from models.objectives.self_distillation import SelfDistillation
from models.objectives.shortcut import Shortcut
from models.outputs import LoopMap
from models.shape import ModelShape

SHAPE = {"width": 16, "heads": 2, "core": 2, "loops": 3}
AT = (torch.tensor([0, 1, 2, 2]), torch.tensor([6, 5, 1, 4]))
TARGETS = torch.tensor([1, 5, 2, 7])
OBJECTIVES: dict[str, Objective] = {
    "fixed_point": FixedPoint(weight=0.3),
    "jacobian": Jacobian(weight=0.3, iterations=2),
    "shortcut": Shortcut(weight=0.3),
    "self_distillation": SelfDistillation(weight=0.3),
}
#: loss in nats of each on the model of `LEARNED`, with the generator at 0
GOLDEN = {
    "fixed_point": 2.7776473,
    "jacobian": 3.4210433,
    "shortcut": 2.7989099,
    "self_distillation": 2.7548273,
}


def shape(**fields: Any) -> LoopedConfig:
    return LoopedConfig.model_validate(SHAPE | fields)


LEARNED = shape(loop_embedding="learned", loop_rows=4)


def last_loss(model: Any) -> Tensor:
    logits = model(tokens()).logits()[AT]
    return -logits.log_softmax(-1)[torch.arange(4), TARGETS].mean()


def loss_of(objective: Objective, model: Any) -> Any:
    torch.manual_seed(0)
    return objective.loss(model(tokens()), AT, TARGETS)


def same(model: Any, found: Tensor, wanted: Tensor, tolerance: float = 1e-7) -> None:
    """In value and in every gradient."""
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
    weights = [p for p in model.parameters() if p.requires_grad]
    ours, theirs = (torch.autograd.grad(x, weights, allow_unused=True) for x in (found, wanted))
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "config",
    [shape(), LEARNED, shape(norm_between_loops=False), shape(injection="gated", prelude=1)],
    ids=["plain", "learned", "unnormed", "gated"],
)
def test_one_more_loop_is_that_of_a_longer_pass(config: LoopedConfig) -> None:
    model = build(config)
    loop_map, longer = model(tokens()).loop_map, model(tokens(), 4)
    after = loop_map.step(4, loop_map.last)
    torch.testing.assert_close(loop_map.state(after), longer.state(4))
    torch.testing.assert_close(loop_map.state(loop_map.last), longer.state(3))
    x = loop_map.first
    for number in (1, 2, 3, 4):
        x = loop_map.step(number, x)
        torch.testing.assert_close(loop_map.state(x), longer.state(number))


@pytest.mark.parametrize("kind", ["film", "lora", "hyper-connections", "disco-loop"])
def test_one_more_loop_of_a_variant_is_that_of_a_longer_pass(kind: str) -> None:
    model = build(variant(kind))
    loop_map = model(tokens()).loop_map
    after = loop_map.state(loop_map.step(4, loop_map.last))
    torch.testing.assert_close(after, model(tokens(), 4).state(4))


def test_a_fixed_point_penalty_is_the_share_that_a_longer_pass_moves() -> None:
    model = build(shape())
    longer = model(tokens(), 4)
    moved = (longer.state(4) - longer.state(3)).square().sum(-1)
    share = moved / longer.state(3).detach().square().sum(-1)
    wanted = last_loss(model) + 0.3 * share.mean()
    same(model, loss_of(OBJECTIVES["fixed_point"], model).total, wanted)
    padded = torch.cat((tokens(), torch.zeros(3, 2, dtype=torch.long)), 1)
    alike = OBJECTIVES["fixed_point"].loss(model(padded), AT, TARGETS)
    torch.testing.assert_close(alike.total, wanted)


@pytest.mark.parametrize("norm", [True, False])
def test_a_shortcut_runs_every_other_loop_from_the_same_start(norm: bool) -> None:
    """Loops 1 and 3 of 3, written out for one document after the other."""
    model = build(shape(loop_embedding="learned", norm_between_loops=norm))
    gain, shares = weight(model, "final_norm"), []
    for row, document in enumerate(tokens()):
        e = rms(weight(model, "embedding")[document], weight(model, "entrance.norm"))
        x = e
        for t in (1, 3):
            x = plain_loop(model, x, e, t, 3)
            x = rms(x, gain) if norm else x
        end = model(tokens()).state(3)[row].detach()
        short = x if norm else rms(x, gain)
        shares.append((short - end).square().sum(-1) / end.square().sum(-1))
    assert (joined(model, e, e, 1) - joined(model, e, e, 3)).abs().max() > 1e-3, "loops differ"
    wanted = last_loss(model) + 0.3 * torch.cat(shares).mean()
    same(model, loss_of(OBJECTIVES["shortcut"], model).total, wanted)
    assert Shortcut().jumps(4) == (2, 4) and Shortcut(stride=3).jumps(7) == (1, 4, 7)


def test_self_distillation_is_the_mean_divergence_from_the_last_loop() -> None:
    model = build(shape())
    outputs = model(tokens())
    p = [outputs.logits(t)[AT].softmax(-1) for t in (1, 2, 3)]
    divergence = sum((p[2] * (p[2] / q).log()).sum(-1) for q in p[:2]) / 2
    wanted = last_loss(model) + 0.3 * divergence.mean()
    objective = OBJECTIVES["self_distillation"]
    torch.testing.assert_close(loss_of(objective, model).total, wanted)
    one = build(shape(loops=1))
    torch.testing.assert_close(loss_of(objective, one).total, last_loss(one))
    # the last loop is what is learned from: it does not move towards the others
    last, earlier = p[2].detach(), p[:2]
    fixed = sum((last * (last / q).log()).sum(-1) for q in earlier) / 2
    same(model, loss_of(objective, model).total, last_loss(model) + 0.3 * fixed.mean())


def linear_map(matrix: Tensor, x: Tensor) -> LoopMap:
    counted = torch.ones(x.shape[:2], dtype=torch.bool)
    return LoopMap(lambda _, y: y @ matrix.T, x, x, lambda y: y, counted)


def test_a_jacobian_penalty_of_a_linear_loop_is_known() -> None:
    """‖J‖²/size in the mean over directions; the largest eigenvalue after many iterations."""
    rng = torch.Generator().manual_seed(3)
    A = torch.randn(4, 4, generator=rng, dtype=torch.float64)
    A = A + A.T
    x = torch.randn(2000, 3, 4, generator=rng, dtype=torch.float64)
    torch.manual_seed(0)
    mean = Jacobian().penalty(linear_map(A, x), 3)
    assert mean.item() == pytest.approx(A.square().sum().item() / 4, rel=0.05)
    most = Jacobian(iterations=200).penalty(linear_map(A, x[:3]), 3)
    assert most.item() == pytest.approx(torch.linalg.eigvalsh(A).square().max().item(), rel=1e-3)


def test_a_jacobian_penalty_and_its_gradient_equal_those_of_exact_derivatives() -> None:
    model = build(shape()).eval()
    loop_map = model(tokens()).loop_map
    torch.manual_seed(0)
    v = torch.randn_like(loop_map.last)
    v = v / v.flatten(1).norm(dim=1).view(-1, 1, 1)
    with sdpa_kernel(SDPBackend.MATH):
        _, product = torch.autograd.functional.jvp(
            lambda x: loop_map.step(4, x), loop_map.last.detach(), v, create_graph=True
        )
    wanted = product.square().flatten(1).sum(1).mean()
    torch.manual_seed(0)
    found = Jacobian().penalty(loop_map, 3)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-3) and wanted > 0
    weight_of = model.core[1].mlp.up.weight
    ours, exact = (torch.autograd.grad(x, weight_of, retain_graph=True)[0] for x in (found, wanted))
    assert (ours - exact).norm() < 1e-3 * exact.norm()


def test_the_jacobian_is_that_of_full_precision_in_half_precision_too() -> None:
    model = shape().build(V, gate=False, seed=0).train()
    exact = loss_of(Jacobian(), model).logged["jacobian_penalty"]
    with torch.autocast("cpu", torch.bfloat16):
        half = loss_of(Jacobian(), model).logged["jacobian_penalty"]
    assert half.item() == pytest.approx(exact.item(), rel=0.05)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_flops_count_the_loops_that_are_run_besides(name: str) -> None:
    config, objective = (
        shape(loop_embedding="learned", loop_rows=4, injection="concat"),
        OBJECTIVES[name],
    )
    model = config.build(V, gate=False, seed=0).eval()

    def counted(what: Any) -> int:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            what()
        return counter.get_total_flops()

    size = {"documents": 3, "context": 7, "predicted": 4, "n_loops": 3, "gate": False}
    size["losses"] = objective.losses_computed(3)
    told = config.training_flops(V, **size, more_loops=objective.loops_run(3))
    assert told == 3 * counted(lambda: loss_of(objective, model))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_golden_losses(name: str) -> None:
    found = loss_of(OBJECTIVES[name], build(LEARNED)).total.item()
    assert found == pytest.approx(GOLDEN[name], abs=1e-5)


def refused(objective: Objective, **changes: Any) -> list[str]:
    run = {
        "task": {"kind": "multihop", "entities": 8, "relations": 4, "hops": 2},
        "model": {"width": 16, "heads": 2, "loops": 2},
        "objective": objective,
        "training": {"batch": 8, "phases": [{"until_step": 3}]},
    }
    found = problems(RunConfig.model_validate(run | changes))
    return [message for at, message in found if at == ("objective",)]


def test_models_that_show_no_loop_are_refused_before_training() -> None:
    for objective in (FixedPoint(), Jacobian(), Shortcut()):
        told = f"objective {objective.kind} runs loops by itself"
        assert not refused(objective)
        assert refused(objective, model={"reuse": "sequence", "loops": 2}) == [
            f"{told}; with model.reuse sequence there is none"
        ]
        (memory,) = refused(objective, model={"kind": "memory-tokens", "loops": 2})
        assert memory.startswith(f"{told}; with model kind memory-tokens the memory would")
        learned = refused(objective, model={"loop_embedding": "learned", "loops": 2})
        message = f"{told}, 3 of them, but model.loop_embedding learned has 2 model.loop_rows"
        assert learned == ([message] if objective.beyond else [])
        model = build(shape())
        outputs = model(tokens(), read=AT)
        assert outputs.loop_map is None
        with pytest.raises(ValueError, match="asked for some positions alone"):
            objective.loss(outputs, AT, TARGETS)
    elsewhere = ModelShape(kind="gru", width=8)
    (message,) = FixedPoint().misfits(elsewhere, 2)
    assert message.endswith("runs loops by itself, which model gru does not show")
    assert not list(SelfDistillation().misfits(elsewhere, 2))
    assert not refused(SelfDistillation(), model={"reuse": "sequence", "loops": 2})
