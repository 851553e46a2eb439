"""Averaged weights against the sum over all steps, and where they are used."""

from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from joint import trainer_of
from toys import assert_same_run, trained, weights

from experiments.config.memory import run_memory
from experiments.config.phases import Phase, Training
from experiments.config.run import RunConfig
from experiments.measuring.load import load_model, load_subject
from experiments.measuring.measure import measure
from experiments.runs.folder import RunFolder
from experiments.training.growth import grow_if_due
from experiments.training.joint_step import JointRuns
from experiments.training.trainer import Trainer
from models.objectives.gate import Gate
from probes.accuracy import Accuracy

STEPS = 8


def config(seed: int = 0, ema: float | None = 0.7, **changes: Any) -> RunConfig:
    training = Training(batch=16, lr=1e-2, ema=ema, phases=(Phase(until_step=STEPS),))
    return toys.config(seed, **{"training": training} | changes)


def last_weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return torch.load(folder.checkpoint_path, weights_only=True)["last_weights"]


def test_averages_are_the_weighted_sum_over_all_steps() -> None:
    trainer = trainer_of(config(), torch.float64)
    seen: list[dict[str, torch.Tensor]] = []
    for _ in range(STEPS):
        trainer.step(trainer.spans[0])
        seen.append({name: p.detach().clone() for name, p in trainer.model.named_parameters()})
        shares = [0.7 ** (len(seen) - 1 - i) for i in range(len(seen))]
        assert trainer.average is not None
        for name, average in trainer.average.named_parameters():
            total = sum(share * one[name] for share, one in zip(shares, seen, strict=True))
            assert torch.allclose(average, total / sum(shares), atol=1e-13), name  # type: ignore
    assert not torch.allclose(seen[-1]["embedding.weight"], trainer.average.embedding.weight)  # type: ignore


def test_averages_are_measured_and_loaded_and_the_last_weights_kept(tmp_path: Path) -> None:
    run, plain = config(), config(ema=None)
    folder, without = trained(tmp_path, run), trained(tmp_path, plain)
    last, averaged, other = last_weights(folder), weights(folder), weights(without)
    assert all(torch.equal(last[name], other[name]) for name in other), "trained as without"
    assert not torch.equal(averaged["embedding.weight"], last["embedding.weight"])
    assert "last_weights" not in torch.load(without.checkpoint_path, weights_only=True)
    model, _ = load_model(tmp_path, run.run_id)
    assert all(torch.equal(p, averaged[name]) for name, p in model.state_dict().items())
    result = folder.result()
    assert result is not None
    (probe,) = run.observe.probes or ()
    subject = load_subject(tmp_path, run.run_id)
    values = [row.value for row in measure(subject, (probe,))]
    assert [row["value"] for row in result["measurements"]] == values
    subject.model.load_state_dict(last)
    finer = Accuracy(items=400)
    bare = [row.value for row in measure(subject, (finer,))]
    assert [r.value for r in measure(load_subject(tmp_path, run.run_id), (finer,))] != bare
    seen = [line["measurements"] for line in folder.metrics() if "measurements" in line]
    assert [row["value"] for row in seen[-1]] == values


@pytest.mark.parametrize("stops", [(1,), (3, 1, 2), (STEPS,)])
def test_stopped_and_resumed_is_the_same_run(tmp_path: Path, stops: tuple[int, ...]) -> None:
    one, other = trained(tmp_path / "a", config()), trained(tmp_path / "b", config(), *stops)
    assert_same_run(one, other)
    a, b = last_weights(one), last_weights(other)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_averages_of_joint_runs_are_those_of_separate_ones() -> None:
    runs = [config(seed) for seed in (1, 2, 3)]
    alone = {run.seed: trainer_of(run, torch.float64) for run in runs}
    joint = JointRuns([trainer_of(run, torch.float64) for run in runs])
    for _ in range(3):
        joint.step(0)
        for trainer in alone.values():
            trainer.step(trainer.spans[0])
    for trainer in joint.trainers:
        mine, theirs = trainer.average, alone[trainer.config.seed].average
        assert mine is not None and theirs is not None
        for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-10) and a.abs().max() > 0


def test_copies_of_a_layer_begin_with_the_average_of_their_origin() -> None:
    phases = (
        Phase(until_step=3, core=2, loops=2),
        Phase(until_step=6, growth="interleave"),
    )
    training = Training(batch=16, lr=1e-2, ema=0.7, phases=phases)
    model = {"width": 16, "heads": 2, "core": 4, "loops": 1}
    trainer = Trainer(config(training=training, model=model), "cpu")
    for _ in range(3):
        trainer.step(trainer.spans[0])
    assert trainer.average is not None
    old = {name: p.clone() for name, p in trainer.average.state_dict().items()}
    assert grow_if_due(trainer, trainer.spans[1]) is not None
    new = trainer.average.state_dict()
    for layer, source in enumerate((0, 0, 1, 1)):
        name = "mlp.up.weight"
        assert torch.equal(new[f"core.{layer}.{name}"], old[f"core.{source}.{name}"])
    assert torch.equal(new["embedding.weight"], old["embedding.weight"])
    assert not torch.equal(new["embedding.weight"], trainer.model.state_dict()["embedding.weight"])
    assert trainer.subject.model is trainer.average and trainer.average.config.core == 4
    trainer.step(trainer.spans[1])
    moved = trainer.average.state_dict()
    assert not torch.equal(moved["core.0.mlp.up.weight"], moved["core.1.mlp.up.weight"])


def test_what_is_not_trained_stays_as_it_is(tmp_path: Path) -> None:
    first = trained(tmp_path, config())
    run = config(start=first.run_id, objective=Gate(sharpness=5.0))
    before, after = weights(first), weights(trained(tmp_path, run))
    for name, weight in after.items():
        assert name.startswith("gate.") or torch.equal(weight, before[name]), name
    assert after["gate.weight"].abs().max() > 0


def test_averages_enter_id_and_memory() -> None:
    assert len({config(ema=ema).run_id for ema in (None, 0.5, 0.7)}) == 3
    assert run_memory(config()) > run_memory(config(ema=None))
