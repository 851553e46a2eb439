"""A head fitted to frozen states: whom a step reads, and how far it goes."""

import numpy as np
from known_models import subject

from generators.biographies import Biographies
from models.config import LoopedConfig
from probes.low_rank import Fit, fitted_predictions


def fitted(batch: int, steps: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Whom every step read, and the classes predicted of those tested."""
    task = Biographies(people=20).bind(0)
    model = LoopedConfig(width=8, heads=1, loops=1).build(len(task.vocabulary), gate=False, seed=0)
    read: list[np.ndarray] = []

    def documents(who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        read.append(who)
        tokens = task.write(np.random.default_rng([0, 7, 1]), who).tokens[:, :4]
        return tokens, np.full((len(who), 1), 3)

    fit = Fit(rank=2, norm="layer", steps=steps, batch=batch, lr=1e-2, weight_decay=0.0, loop=1)
    train, test = np.arange(12), np.arange(12, 20)
    rng = np.random.default_rng([0, 7, 2])
    found = fitted_predictions(
        subject(model, task), documents, np.arange(20) % 2, train, test, fit, rng
    )
    return read[1:-1], found  # the first asks for the columns, the last is the test


def test_nobody_comes_twice_in_a_step_as_far_as_there_are_enough() -> None:
    steps, found = fitted(batch=12, steps=4)
    assert len(steps) == 4 and all(sorted(who) == list(range(12)) for who in steps)
    assert len({tuple(who) for who in steps}) > 1
    assert found.shape == (8, 1)
    steps, _ = fitted(batch=30, steps=2)
    assert all(len(who) == 30 and set(who) <= set(range(12)) for who in steps)
