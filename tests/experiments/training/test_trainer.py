"""One step of training: what a phase asks for reaches the loss."""

import pytest
from training import TRAINING, config

from experiments.config.phases import Phase
from experiments.training.trainer import Trainer
from models.objectives.entropy import Entropy


def first_losses(*betas: float | None) -> list[tuple[float, float]]:
    """Loss and exit entropy of the first step, by the β of the first phase; then β changes."""
    found = []
    for beta in betas:
        phases = (Phase(until_step=1, beta=beta), Phase(until_step=2, beta=0.0))
        training = TRAINING.model_copy(update={"phases": phases})
        trainer = Trainer(config(objective=Entropy(beta=0.2), training=training), "cpu")
        loss = trainer.step(trainer.spans[0])
        found.append((loss.total.item(), loss.logged["exit_entropy"].item()))
    return found


def test_the_beta_of_a_phase_weighs_the_entropy() -> None:
    """Σ p·CE - β·H with weights and documents alike: only β·H differs."""
    (free, entropy), (half, _), (own, _) = first_losses(0.0, 0.5, None)
    assert entropy > 0.1
    assert half == pytest.approx(free - 0.5 * entropy, rel=1e-5)
    assert own == pytest.approx(free - 0.2 * entropy, rel=1e-5), "that of the objective"
