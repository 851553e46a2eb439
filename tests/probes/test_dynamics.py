"""Maps whose motion is known: contraction, rotations, drift, expansion."""

import math

import numpy as np
import pytest
import torch
from hop_solver import foreign, subject
from torch import nn

from generators.multihop import MultiHop
from models.adapter import ForeignModel
from models.config import LoopedConfig
from probes.dynamics import Dynamics, periods

TASK = MultiHop(entities=8, relations=4, hops=2, world="permutation", held_out=0.3).bind(1)
D = 2


class Iterated(nn.Module):
    """h_t = A h_{t-1} + b, from a point on the unit circle that the token decides."""

    def __init__(self, A, b=(0.0, 0.0)):
        super().__init__()
        self.A, self.b = torch.tensor(A), torch.tensor(b)

    def forward(self, tokens, n_loops):
        angle = tokens.float()
        x, states = torch.stack((angle.cos(), angle.sin()), -1), []
        for _ in range(n_loops):
            x = x @ self.A.T + self.b
            states.append(x)
        return states


def rotation(turns, scale=1.0):
    c, s = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
    return [[scale * c, -scale * s], [scale * s, scale * c]]


def measured(A, b=(0.0, 0.0), loops=3, **fields):
    config = LoopedConfig(width=D, heads=1, loops=loops)
    model = ForeignModel(Iterated(A, b), config, head=nn.Linear(D, len(TASK.vocabulary)))
    model.config = config
    rows = Dynamics(items=32, **fields).measure(subject(model, TASK))
    return {(r.metric, r.item, r.loop): r for r in rows}


def shares(found):
    return {item: row.value for (metric, item, _), row in found.items() if "share" in metric}


def test_a_contraction_reaches_its_fixed_point():
    found = measured(rotation(0, 0.5), (1.0, 2.0))
    assert shares(found) == {
        "fixed point": 1, "cycle of 2": 0, "cycle of 3": 0, "cycle of 4": 0, "neither": 0
    }  # fmt: skip
    assert ("convergence_share", "neither", 32) in found
    for t in (3, 4, 8):
        assert found["step_ratio", "", t].value == pytest.approx(0.5, rel=1e-4)
    assert found["state_norm", "", 30].value == pytest.approx(math.hypot(2, 4), rel=1e-5)
    assert found["state_cosine", "", 30].value == pytest.approx(1)
    assert found["state_step", "", 2].value > found["state_step", "", 5].value > 0


@pytest.mark.parametrize("period", [2, 3, 4])
def test_rotations_are_cycles_of_their_own_period(period):
    found = measured(rotation(1 / period))
    assert shares(found)[f"cycle of {period}"] == 1 == sum(shares(found).values())
    angle = 2 * math.pi / period
    for t in (2, 7):
        assert found["state_cosine", "", t].value == pytest.approx(math.cos(angle), abs=1e-5)
        chord = 2 * math.sin(angle / 2)
        assert found["state_step", "", t].value == pytest.approx(chord, rel=1e-4)
        assert found["relative_change", "", t].value == pytest.approx(chord, rel=1e-4)
        assert found["state_norm", "", t].value == pytest.approx(1, rel=1e-4)


def test_what_neither_rests_nor_repeats():
    golden = (math.sqrt(5) - 1) / 2
    # a turn no cycle repeats; one beyond the longest cycle; a drift of small steps; an explosion
    for A in (rotation(golden), rotation(1 / 5), rotation(0.001), rotation(0, 1.5)):
        assert shares(measured(A))["neither"] == 1
    assert measured(rotation(0.001))["relative_change", "", 9].value < 0.01
    assert shares(measured(rotation(1 / 5), most_period=5))["cycle of 5"] == 1
    expanding = measured(rotation(0, 1.5))
    assert expanding["step_ratio", "", 9].value == pytest.approx(1.5, rel=1e-4)
    # a change is measured against the state before it, not after it
    assert expanding["relative_change", "", 9].value == pytest.approx(0.5, rel=1e-4)
    overflown = measured(rotation(0, 1e9))
    assert shares(overflown)["neither"] == 1
    last = max(t for metric, _, t in overflown if metric == "state_norm")
    assert 3 <= last < 32 and all(np.isfinite(row.value) for row in overflown.values())


def test_periods_of_every_document_apart():
    x = torch.zeros(12, 4, 1)
    x[:, 0] = 1
    x[:, 1, 0] = torch.tensor([1.0, -1.0] * 6)
    x[:, 2, 0] = torch.arange(12.0)
    assert periods(x, 12, 4, 0.01).tolist() == [1, 2, 0, 1]
    assert periods(x * 1000, 12, 4, 0.01).tolist() == [1, 2, 0, 1], "it has no scale"
    x[0, 0] = 1.5  # before the window
    assert periods(x, 8, 4, 0.01)[0] == 1 and periods(x, 12, 4, 0.01)[0] == 0


def test_the_solver_rests_once_it_is_done():
    rows = Dynamics(items=16).measure(subject(foreign(TASK, 2), TASK))
    steps = {r.loop: r.value for r in rows if r.metric == "state_step"}
    assert steps[2] > 1 and all(steps[t] == 0 for t in range(3, 33))


def test_looped_models_and_those_with_an_end():
    fields = {"width": 16, "heads": 2, "loops": 2}
    V = len(TASK.vocabulary)
    for more, limit in (({}, None), ({"loop_embedding": "learned", "loop_rows": 4}, 4)):
        model = LoopedConfig(**fields, **more).build(V, gate=False, seed=0)
        rows = Dynamics(items=8).measure(subject(model, TASK))
        norms = [r.value for r in rows if r.metric == "state_norm"]
        assert len(norms) == (limit or 32)
        assert norms[0] == pytest.approx(4, rel=1e-3), "of a normed state: the root of its width"
        total = [r.value for r in rows if r.metric == "convergence_share"]
        assert sum(total) == (0 if limit else 1)
        assert [r.value for r in rows if r.metric == "loop_limit"] == ([4.0] if limit else [])
    with pytest.raises(ValueError, match="window 6 does not show a cycle of most_period 4 twice"):
        Dynamics(window=6)
