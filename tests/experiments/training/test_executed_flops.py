"""FLOPs that training executes, against torch's counter on steps that are trained."""

from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode

from experiments.config.costs import cost, cost_and_work
from experiments.config.run import RunConfig
from experiments.training.trainer import Trainer
from models.config import LoopedConfig
from models.model import ModelConfig

QUESTIONS = {"kind": "multihop", "entities": 32, "relations": 16, "hops": 3}
PEOPLE = {"kind": "biod", "people": 64, "attributes": 2, "diversity": 8}


def run(model: Any = None, objective: str = "last_loop", **fields: Any) -> RunConfig:
    """Three steps of a narrow model."""
    training = {"batch": 64, **fields.pop("training", {})}
    phase = {"until_step": 3, **fields.pop("phase", {})}
    return RunConfig.model_validate(
        {
            "task": fields.pop("task", QUESTIONS),
            "model": {"width": 64, "heads": 2, **(model or {})},
            "objective": {"kind": objective},
            "training": {**training, "phases": [phase]},
        }
    )


def counted(config: RunConfig) -> tuple[int, int, int]:
    """FLOPs of three steps by torch, executed and nominal ones by the trainer."""
    trainer = Trainer(config, "cpu")
    with FlopCounterMode(display=False) as counter:
        for _ in range(3):
            trainer.step(trainer.spans[0])
    counters = trainer.counters
    return counter.get_total_flops(), counters.executed_flops, counters.train_flops


@pytest.mark.parametrize(
    ("config", "share"),
    [
        (run(), 0.342),
        (run({"loops": 4}), 0.835),
        (run({"core": 2, "loops": 2, "prelude": 1, "tied": True}), 0.868),
        (run({"loops": 2}, "entropy"), 0.672),
        (run({"loops": 2, "coda": 1}, "entropy"), 0.67),
        (run({"loops": 2, "coda": 2}), 0.835),
        (run({"loops": 3, "injection": "concat"}, phase={"backprop_loops": 1}), 0.655),
        (run({"loops": 3}, "gate"), 0.771),
        (run({"loops": 3, "reuse": "sequence"}), 0.78),
        (run({"mlp": "gelu", "norm": "pre"}), 0.341),
        (run({"loops": 4}, training={"recompute": True}), 1.085),
        (run({"loops": 4}, training={"recompute": True}, phase={"backprop_loops": 2}), 0.873),
        (run({"loops": 2}, task=PEOPLE), 1.0),
        (run(task={**QUESTIONS, "cot": True}, training={"accumulate": 2}), 0.532),
    ],
)
def test_what_is_executed_is_what_torch_counts(config: RunConfig, share: float) -> None:
    """Up to the gradients of norms, in which torch counts products with vectors."""
    by_torch, executed, nominal = counted(config)
    assert executed == pytest.approx(by_torch, rel=0.015)
    assert by_torch / nominal == pytest.approx(share, abs=0.01)
    planned = cost(config)
    assert planned.executed_flops == pytest.approx(executed, rel=0.03)
    assert planned.train_flops == pytest.approx(nominal, rel=0.03)


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("disco-loop", 0.798),
        ("film", 0.78),
        ("hyper-connections", 0.785),
        ("lora", 0.76),
        ("memory-tokens", 0.385),
    ],
)
def test_what_variants_execute_is_what_torch_counts(kind: str, share: float) -> None:
    """Up to the memory's own pass, once for a batch, and the inner products of queries alone."""
    by_torch, executed, nominal = counted(run({"kind": kind, "loops": 3}))
    assert executed == pytest.approx(
        by_torch, rel=0.03 if kind in ("lora", "memory-tokens") else 0.015
    )
    assert by_torch / nominal == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"loops": 3, "prelude": 1, "mlp": "gelu"},
        {"mlp": "moe", "experts": 3, "mlp_hidden": 64},
        {"kind": "lora", "loops": 2},
    ],
)
def test_the_products_of_muon_are_executed(model: dict[str, Any]) -> None:
    """What torch counts more than of the same steps with AdamW is what is booked and planned."""
    training = {"batch": 8, "muon_lr": 1e-2}
    plain, moved = (run(model, training={**training, "optimiser": o}) for o in ("adamw", "muon"))
    by_torch, executed, nominal = (
        b - a for a, b in zip(counted(plain), counted(moved), strict=True)
    )
    assert by_torch == executed > 0 and nominal == 0
    assert cost(moved).executed_flops - cost(plain).executed_flops == executed
    assert cost(moved).train_flops == cost(plain).train_flops
    more = cost_and_work(moved)[1].flops - cost_and_work(plain)[1].flops
    assert more == pytest.approx(executed), "which the time that is planned knows"


@pytest.mark.parametrize("model", [{"core": 2, "coda": 1}, {"mlp": "moe"}, {"mlp": "gelu"}])
def test_matrices_inside_the_layers_are_those_of_what_is_built(model: dict[str, Any]) -> None:
    config = LoopedConfig(width=16, heads=2, **model)
    built = ModelConfig.hidden_matrices(config, 9, gate=True)
    assert config.hidden_matrices(9, gate=True) == built


def test_loops_cost_more_than_is_printed_where_few_positions_are_read() -> None:
    """Multi-hop questions of the headline: the last block reads one position in five."""
    one, four = (counted(run({"loops": n}, training={"batch": 512})) for n in (1, 4))
    by_torch, executed, nominal = (b / a for a, b in zip(one, four, strict=True))
    assert nominal == pytest.approx(3.96, abs=0.01)
    assert executed == pytest.approx(by_torch, rel=0.01) == pytest.approx(9.69, abs=0.02)
