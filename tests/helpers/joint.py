"""Runs that step together, compared with each of them by itself."""

import torch

from experiments.config.run import RunConfig
from experiments.training.joint_step import JointRuns
from experiments.training.trainer import Trainer


def trainer_of(run: RunConfig, dtype: torch.dtype) -> Trainer:
    trainer = Trainer(run, "cpu")
    trainer.adopt(trainer.model.to(dtype))
    return trainer


def close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float, what: str) -> None:
    error = (found - wanted).norm() / wanted.norm().clamp(min=1e-3)
    assert error < tolerance, (what, float(error))


def compare(runs: list[RunConfig], dtype: torch.dtype, tolerance: float, steps: int = 4) -> None:
    """Loss, what is logged, every gradient, weight and moment of every run after every step."""
    alone = {run.run_id: trainer_of(run, dtype) for run in runs}
    stack = JointRuns([trainer_of(run, dtype) for run in runs])
    assert len(alone) == len(stack.trainers)
    for _ in range(steps):
        losses = stack.step(0)
        for r, (trainer, loss) in enumerate(zip(stack.trainers, losses, strict=True)):
            single = alone[trainer.config.run_id]
            wanted = single.step(single.spans[0])
            close(loss.total, wanted.total.detach(), tolerance, "loss")
            assert loss.logged.keys() == wanted.logged.keys()
            for name, value in wanted.logged.items():
                close(loss.logged[name], value, tolerance, name)
            own = dict(trainer.model.named_parameters())
            for name, parameter in single.model.named_parameters():
                grad = stack.weights[name].grad
                assert (grad is None) == (parameter.grad is None), name
                close(own[name].detach(), parameter.detach(), 10 * tolerance, name)
                if grad is None or parameter.grad is None:
                    continue
                close(grad[r], parameter.grad, 10 * tolerance, f"gradient of {name}")
                mine, theirs = trainer.optimiser.state[own[name]], single.optimiser.state[parameter]
                assert mine["step"] == theirs["step"]
                assert mine.keys() == theirs.keys()
                for key in mine.keys() - {"step"}:
                    close(mine[key], theirs[key], 20 * tolerance, f"{key} of {name}")
            assert trainer.counters == single.counters
