"""Runs trained in one pass, against each of them by itself."""

from typing import Any

import numpy as np
import pytest
import torch
from joint import close, compare, trainer_of
from variant_shapes import FIELDS

from experiments.config.phases import Phase, Training
from experiments.config.run import RunConfig
from experiments.training.inputs import model_inputs
from experiments.training.joint_step import JointRuns, joint_inputs
from experiments.training.trainer import Trainer
from generators.biographies import Biographies
from generators.multihop import MultiHop
from generators.task import Batch
from models.config import LoopedConfig
from models.objectives.act import ACT
from models.objectives.entropy import Entropy
from models.objectives.gate import Gate
from models.objectives.last_loop import LastLoop
from models.objectives.prior import Prior
from models.objectives.self_distillation import SelfDistillation

TASK = MultiHop(entities=8, relations=4, hops=3)
LONG = Biographies(people=40)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "pre-gelu-tied": {"norm": "pre", "mlp": "gelu", "tied": True, "norm_between_loops": False},
    "coda": {"coda": 1, "prelude": 1},
    "sequence": {"reuse": "sequence", "core": 2},
    "concat": {"injection": "concat"},
    "diagonal": {"injection": "diagonal", "initial_state": "learned"},
    "gated": {"injection": "gated", "initial_state": "prelude"},
    "learned": {"loop_embedding": "learned", "positions": "learned", "context": 8},
    "post-qk": {"norm": "post", "qk_norm": True, "layer_scale": 0.5},
    "deepnorm": {"norm": "deepnorm"},
    "residual-scale": {"residual_scale": 2.0, "layer_scale": 0.3, "norm_between_loops": False},
    "quarter": {"positions": "rope-quarter", "heads": 1},
    **{kind: {"kind": kind} | fields for kind, fields in FIELDS.items()},
}
OBJECTIVES = {
    "last_loop": LastLoop(),
    "entropy": Entropy(),
    "prior": Prior(prior="geometric"),
    "act": ACT(),
    "gate": Gate(sharpness=5.0),
    "self_distillation": SelfDistillation(),
}


def config(seed: int, **changes: Any) -> RunConfig:
    fields = {
        "task": TASK,
        "model": LoopedConfig(width=16, heads=2, loops=3),
        "training": Training(batch=24, lr=1e-2, phases=(Phase(until_step=6, warmup=2),)),
        "seed": seed,
    }
    return RunConfig.model_validate(fields | changes)


#: every variant with one objective and every objective with one variant
PAIRS = [(variant, "last_loop") for variant in VARIANTS] + [("coda", name) for name in OBJECTIVES]


@pytest.mark.parametrize(("variant", "objective"), dict.fromkeys(PAIRS))
def test_equals_separate_training_in_float64(variant: str, objective: str) -> None:
    model = {"width": 16, "heads": 2, "loops": 3} | VARIANTS[variant]
    runs = [config(seed, model=model, objective=OBJECTIVES[objective]) for seed in (3, 4, 5)]
    compare(runs, torch.float64, 1e-10, steps=2)


def test_equals_separate_training_in_float32() -> None:
    compare([config(seed) for seed in (3, 4, 5)], torch.float32, 2e-5)


def test_every_run_has_its_own_learning_rate_and_decay() -> None:
    runs = []
    for seed in (1, 2):
        for lr in (1e-2, 1e-3):
            for decay in (0.0, 0.1):
                phases = (Phase(until_step=6, warmup=2, decay="sqrt"),)
                training = Training(batch=16, lr=lr, weight_decay=decay, phases=phases)
                runs.append(config(seed, training=training))
    compare(runs, torch.float64, 1e-10)


def test_without_clipping_and_with_recomputation() -> None:
    for change in ({"clip": None}, {"clip": 1e-3}, {"recompute": True}):
        training = Training(batch=16, phases=(Phase(until_step=6, backprop_loops=2),), **change)
        compare([config(seed, training=training) for seed in (1, 2)], torch.float64, 1e-10)


def test_documents_of_different_lengths_and_numbers_of_predictions() -> None:
    training = Training(batch=8, phases=(Phase(until_step=6),))
    model = LoopedConfig(width=8, heads=1, loops=2)
    compare(
        [config(s, task=LONG, model=model, training=training) for s in (1, 2, 3)],
        torch.float64,
        1e-10,
        steps=2,
    )


def test_padded_positions_weigh_nothing_and_lengthen_no_document() -> None:
    rng = np.random.default_rng([0, 1, 0])
    batches, masks = [], []
    for share, length in ((0.1, 9), (0.4, 12), (0.25, 12)):
        tokens = np.zeros((6, 12), dtype=np.int32)
        tokens[:, :length] = rng.integers(1, 9, (6, length))
        mask = (rng.random((6, 12)) < share) & (tokens != 0)
        mask[:, 0], mask[0, 1] = False, True
        masks.append(mask[:, 1:])
        batches.append(Batch(tokens, mask.astype(np.int8), {}, {}, np.zeros(6, dtype=np.int64)))
    given = joint_inputs(batches, torch.device("cpu"))
    M = max(int(mask.sum()) for mask in masks)
    assert given.weight.shape == (3, M)
    row, column = given.at
    for r, batch in enumerate(batches):
        counted = given.weight[r] > 0
        assert given.weight[r].sum() == pytest.approx(1)
        mine = slice(r * M, (r + 1) * M)
        assert ((row[mine] // 6) == r).all()
        _, (rows, columns), targets = model_inputs(batch, torch.device("cpu"))
        assert (row[mine][counted] - 6 * r == rows).all()
        assert (column[mine][counted] == columns).all()
        assert (given.targets[mine][counted] == targets).all()
    assert len({*zip(row.tolist(), column.tolist(), strict=True)}) == 3 * M
    most = max(int(mask.sum(1).max()) for mask in masks)
    assert int(torch.bincount(row).max()) == most


def test_models_of_two_shapes_do_not_stack() -> None:
    runs = [config(1), config(1, model=LoopedConfig(width=8, heads=2, loops=3))]
    with pytest.raises(ValueError, match="differ in shape"):
        JointRuns([Trainer(run, "cpu") for run in runs])


def test_a_replica_that_is_not_finite_leaves_the_others_alone() -> None:
    runs = [config(seed) for seed in (3, 4)]
    alone = trainer_of(runs[1], torch.float64)
    stack = JointRuns([trainer_of(run, torch.float64) for run in runs])
    with torch.no_grad():
        next(stack.trainers[0].model.parameters()).fill_(float("nan"))
    for _ in range(3):
        broken, whole = stack.step(0)
        wanted = alone.step(alone.spans[0])
        assert broken.total.isnan()
        close(whole.total, wanted.total.detach(), 1e-10, "loss")
