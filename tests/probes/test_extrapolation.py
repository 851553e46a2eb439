"""Accuracy over loops of models whose best number of loops is known."""

import pytest
from hop_solver import TASK, foreign, subject
from torch import nn

from models.config import LoopedConfig
from probes.accuracy import Accuracy
from probes.extrapolation import Extrapolation


def table(rows):
    return {(r.metric, r.difficulty, r.loop): r for r in rows}


class Forgets(nn.Module):
    """The solver, whose states are empty from a loop on."""

    def __init__(self, solver, after):
        super().__init__()
        self.solver, self.after = solver, after

    def forward(self, tokens, n_loops):
        states = self.solver(tokens, n_loops)
        return [s if t <= self.after else 0 * s for t, s in enumerate(states, 1)]


def test_the_solver_needs_as_many_loops_as_hops_and_keeps_its_answer():
    found = table(Extrapolation(items=64).measure(subject(foreign(TASK, 2))))
    assert max(loop for _, _, loop in found if loop) == 8
    for k in (2, 3):
        for n in range(1, 9):
            row = found["loops_accuracy", k, n]
            assert (row.value == 1) == (n >= k) and row.low <= row.value <= row.high
            assert row.floor == max(TASK.floors(k, "test").values())
        assert found["best_loops", k, None].value == found["fewest_loops", k, None].value == k
        assert found["most_loops", k, None].value == 8
        assert found["over_looping_loss", k, 8].value == 0
        assert found["under_looping_loss", k, 1].value > 0.5
    assert found["trained_loss", 2, 2].value == 0 < found["trained_loss", 3, 2].value


def test_over_looping_is_seen():
    model = foreign(TASK, 3)
    model.module = Forgets(model.module, 4)
    found = table(Extrapolation(items=64, factor=2).measure(subject(model)))
    assert found["best_loops", 3, None].value == 3 and found["most_loops", 3, None].value == 4
    assert found["over_looping_loss", 3, 6].value == 1 - found["loops_accuracy", 3, 6].value > 0.5
    loose = table(Extrapolation(items=64, factor=2, tolerance=0.99).measure(subject(model)))
    assert loose["fewest_loops", 3, None].value == 1


def test_at_the_trained_loops_it_is_the_accuracy():
    model = LoopedConfig(width=16, heads=2, loops=2).build(len(TASK.vocabulary), gate=False, seed=0)
    found = table(Extrapolation(items=64, counts=(2, 5)).measure(subject(model)))
    for row in Accuracy(items=64, splits=("test",)).measure(subject(model)):
        assert found["loops_accuracy", row.difficulty, 2].value == row.value
        assert found["loops_accuracy", row.difficulty, 2].low == row.low
    assert {loop for metric, _, loop in found if metric == "loops_accuracy"} == {2, 5}


def test_a_learned_loop_embedding_ends_and_says_so():
    fields = {"width": 16, "heads": 2, "loops": 2, "loop_embedding": "learned", "loop_rows": 3}
    model = LoopedConfig(**fields).build(len(TASK.vocabulary), gate=False, seed=0)
    rows = Extrapolation(items=8).measure(subject(model))
    assert (rows[0].metric, rows[0].value) == ("loop_limit", 3.0)
    assert "learned loop embedding" in rows[0].item
    assert max(row.loop for row in rows if row.metric == "loops_accuracy") == 3
    with pytest.raises(ValueError, match="at most 3"):
        Extrapolation(items=8, counts=(4,)).measure(subject(model))
    free = Extrapolation(items=8).measure(subject(foreign(TASK, 1)))
    assert all(row.metric != "loop_limit" for row in free)
