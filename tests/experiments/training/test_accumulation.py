"""A batch computed in parts against the whole, whatever is predicted where."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from joint import close, compare, trainer_of
from toys import assert_same_run, trained

from experiments.config.costs import cost
from experiments.config.memory import run_memory
from experiments.config.phases import Phase, Training
from experiments.config.run import RunConfig
from experiments.grid.run_checks import problems
from experiments.training.inputs import parts_of
from experiments.training.trainer import Trainer
from generators.batch import Batch
from generators.biographies import Biographies
from models.config import LoopedConfig
from models.objectives.act import ACT
from models.objectives.entropy import Entropy
from models.objectives.gate import Gate
from models.objectives.last_loop import LastLoop
from models.objectives.objective import Objective
from models.objectives.prior import Prior

OBJECTIVES = [LastLoop(), Entropy(), Prior(prior="geometric"), ACT(), Gate(sharpness=5.0)]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"coda": 1, "prelude": 1},
    {"positions": "learned", "context": 12, "injection": "concat"},
]


def training(accumulate: int, **changes: Any) -> Training:
    fields = {"batch": 12, "lr": 1e-2, "phases": (Phase(until_step=6),), "accumulate": accumulate}
    return Training.model_validate(fields | changes)


def config(accumulate: int, seed: int = 0, **changes: Any) -> RunConfig:
    model = LoopedConfig(width=16, heads=2, loops=3)
    fields = {"model": model, "training": training(accumulate)}
    return toys.config(seed, **fields | changes)


def uneven(step: int) -> Batch:
    """Documents of all lengths that predict at most, few, or none of their positions."""
    rng = np.random.default_rng(step)
    tokens = rng.integers(1, 9, (12, 11)).astype(np.int32)
    mask = rng.random((12, 11)) < np.linspace(0, 0.9, 12)[:, None]
    for row, length in enumerate(rng.integers(2, 12, 12)):
        tokens[row, length:], mask[row, length:] = 0, False
    mask[:4] = False
    mask[4, 1] = True
    return Batch(tokens, mask)


def gradients(trainer: Trainer) -> dict[str, torch.Tensor]:
    found = trainer.model.named_parameters()
    return {name: p.grad for name, p in found if p.grad is not None}


@pytest.mark.parametrize("accumulate", [2, 3, 5, 12])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.kind)
def test_parts_give_the_step_of_the_whole(
    objective: Objective, accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = training(1, clip=0.1)
    parts = plain.model_copy(update={"accumulate": accumulate})
    one, other = (
        trainer_of(config(1, objective=objective, training=t), torch.float64)
        for t in (plain, parts)
    )
    for trainer in (one, other):
        monkeypatch.setattr(trainer, "documents", uneven)
    for _ in range(3):
        whole, summed = (trainer.step(trainer.spans[0]) for trainer in (one, other))
        close(summed.total, whole.total, 1e-12, "loss")
        assert summed.logged.keys() == whole.logged.keys()
        for name, value in whole.logged.items():
            close(summed.logged[name], value, 1e-12, name)
        wanted, found = gradients(one), gradients(other)
        assert wanted.keys() == found.keys()
        for name, gradient in wanted.items():
            close(found[name], gradient, 1e-10, name)
        for mine, theirs in zip(other.model.parameters(), one.model.parameters(), strict=True):
            close(mine.detach(), theirs.detach(), 1e-8, "weights")
    mine, theirs = other.counters, one.counters
    assert (mine.step, mine.documents, mine.tokens) == (3, 36, theirs.tokens)
    assert mine.train_flops < theirs.train_flops, "a part reads up to its own longest document"


def test_shares_are_of_positions_and_not_of_documents() -> None:
    batch = uneven(1)
    parts = parts_of(batch, 3)
    counts = [int(part.loss_mask[:, 1:].sum()) for part, _ in parts]
    assert counts[0] == 0 and len({*counts}) == 3
    assert [share for _, share in parts] == pytest.approx([n / sum(counts) for n in counts])
    assert sum(len(part) for part, _ in parts) == 12
    assert [len(part) for part, _ in parts_of(batch, 5)] == [3, 3, 2, 2, 2]
    assert len(parts_of(batch, 40)) == 12
    assert parts_of(batch, 1) == [(batch, 1.0)]


@pytest.mark.parametrize("shape", VARIANTS)
def test_joint_runs_compute_their_batches_in_parts_too(shape: dict[str, Any]) -> None:
    model = LoopedConfig.model_validate({"width": 16, "heads": 2, "loops": 2} | shape)
    runs = [config(5, seed, model=model, objective=Entropy()) for seed in (3, 4)]
    compare(runs, torch.float64, 1e-10, steps=3)


def test_joint_runs_with_documents_of_different_lengths() -> None:
    model = LoopedConfig(width=8, heads=1, loops=2)
    task = Biographies(people=40)
    compare([config(3, s, task=task, model=model) for s in (1, 2)], torch.float64, 1e-10, steps=2)


def test_a_joint_run_that_predicts_nothing_in_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def documents(trainer: Trainer, step: int) -> Batch:
        batch, way = uneven(step), 1 if trainer.config.seed == 3 else -1
        return Batch(batch.tokens[::way], batch.loss_mask[::way])

    monkeypatch.setattr(Trainer, "documents", documents)
    compare([config(3, seed) for seed in (3, 4)], torch.float64, 1e-10, steps=3)


def test_stopped_and_resumed_is_the_same_run(tmp_path: Path) -> None:
    run = config(5)
    assert_same_run(trained(tmp_path / "a", run), trained(tmp_path / "b", run, 2, 1))


def test_parts_need_less_memory_and_are_counted(tmp_path: Path) -> None:
    big = training(1, batch=4096)
    runs = [config(1, training=big.model_copy(update={"accumulate": n})) for n in (1, 2, 64)]
    needed = [run_memory(run) for run in runs]
    assert needed == sorted(needed, reverse=True) and len({*needed}) == 3
    run = config(4, task=Biographies(people=40), observe={"probes": ()})
    result = trained(tmp_path, run).result()
    assert result is not None
    assert result["train_flops"] == pytest.approx(cost(run).train_flops, rel=0.05)
    ids = {config(n).run_id for n in (1, 4, 5)}
    assert len(ids) == 3, "the result differs by rounding"


class Whole(Objective):
    kind: str = "whole"

    def loss(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"training": training(13)}, "13 parts of a batch of 12 documents"),
        ({"model": {"width": 16, "heads": 2, "mlp": "moe"}}, "load-balancing loss"),
        (
            {"model": {"width": 16, "heads": 2, "injection": "add", "initial_state": "noise"}},
            "draw its own",
        ),
        ({"objective": Whole()}, "objective whole does not say what each position loses"),
    ],
)
def test_parts_that_do_not_add_up_are_refused(changes: dict[str, Any], says: str) -> None:
    found = list(problems(config(2, **changes)))
    assert [at for at, _ in found] == [("training", "accumulate")], found
    assert re.search(says, found[0][1])
    fine = changes | {"training": training(1)}
    assert not list(problems(config(1, **fine)))
