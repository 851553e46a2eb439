"""A recurrent model that is none of ours, trained by our objectives and read by our probes."""

from typing import Literal

import pytest
import torch
from torch import nn

from generators.multihop import MultiHop
from generators.streams import Stream, generator
from models.adapter import ForeignModel
from models.model import ModelConfig
from models.objectives.entropy import Entropy
from probes.accuracy import Accuracy
from probes.probe import Subject

TASK = MultiHop(entities=8, relations=4, hops=2).bind(1)
V = len(TASK.vocabulary)


class Shape(ModelConfig):
    """What probes ask of a model that is built by hand."""

    kind: Literal["by-hand"] = "by-hand"

    def build(self, vocabulary_size, *, gate, seed):
        raise NotImplementedError


class LoopedGRU(nn.Module):
    """A GRU over the tokens whose output is its next input."""

    def __init__(self, width=32):
        super().__init__()
        self.embedding = nn.Embedding(V, width)
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, tokens, n_loops):
        x, states = self.embedding(tokens), []
        for _ in range(n_loops):
            x = x + self.gru(x)[0]
            states.append(x)
        return states


class Logits(nn.Module):
    """Always the same token, one more likely with every loop."""

    def forward(self, tokens, n_loops):
        wanted = torch.zeros(*tokens.shape, V)
        wanted[..., int(TASK.sample(generator(1, Stream.PROBE), 1).tokens.max())] = 1
        return [wanted * t for t in range(1, n_loops + 1)]


def test_states_with_a_head_and_a_gate_learn_and_are_probed():
    torch.manual_seed(0)
    model = ForeignModel(
        LoopedGRU(), Shape(width=32, loops=2), head=nn.Linear(32, V), gate=nn.Linear(32, 1)
    )
    counts = model.count_parameters()
    assert counts["total"] == sum(p.numel() for p in model.parameters())
    subject = Subject(model, TASK, counts, 1, torch.device("cpu"))
    probe = Accuracy(items=200, splits=("train",), difficulties=(1,), loops="all")
    with torch.no_grad():
        before = probe.measure(subject)
    assert [row.loop for row in before] == [1, 2]
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(150):
        batch = TASK.sample(generator(1, Stream.TRAIN, step), 64, difficulty=1)
        tokens = torch.from_numpy(batch.tokens).long()
        at = torch.from_numpy(batch.loss_mask[:, 1:]).nonzero(as_tuple=True)
        loss = Entropy().loss(model(tokens[:, :-1]), at, tokens[at[0], at[1] + 1])
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
    with torch.no_grad():
        after = probe.measure(subject)
    assert after[-1].value > 0.9 > 0.5 > before[-1].value


def test_logits_need_no_head():
    model = ForeignModel(Logits(), Shape(width=1, loops=3))
    tokens = torch.ones(2, 4, dtype=torch.long)
    outputs = model(tokens)
    assert outputs.n_loops == 3 and torch.equal(outputs.logits(3), 3 * outputs.logits(1))
    at = (torch.tensor([1]), torch.tensor([2]))
    assert outputs.logits(at=at).shape == (1, V)
    with pytest.raises(ValueError, match="no exit gate"):
        outputs.exit_logits()


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="a gate reads states"):
        ForeignModel(Logits(), Shape(width=1), gate=nn.Linear(V, 1))
    with pytest.raises(ValueError, match="n_loops must be 1 or more, got 0"):
        ForeignModel(Logits(), Shape(width=1))(torch.ones(1, 2, dtype=torch.long), 0)

    class Short(Logits):
        def forward(self, tokens, n_loops):
            return super().forward(tokens, n_loops)[1:]

    with pytest.raises(ValueError, match="gave 2 tensors when called with n_loops 3"):
        ForeignModel(Short(), Shape(width=1, loops=3))(torch.ones(1, 2, dtype=torch.long))

    class Gives(Logits):
        given: object = None

        def forward(self, tokens, n_loops):
            return self.given

    whole = torch.ones(1, 2, dtype=torch.long)
    for given, kind in ((None, "NoneType"), ([(1, 2)], "tuple"), ([whole], "torch.int64")):
        model = ForeignModel(Gives(), Shape(width=1, loops=1))
        model.module.given = given
        with pytest.raises(TypeError, match=f"gave {kind} for a loop and not float numbers"):
            model(whole)


def test_a_halting_model_from_elsewhere_answers_from_the_weighted_states():
    torch.manual_seed(1)
    model = ForeignModel(
        LoopedGRU(), Shape(width=32, loops=3), head=nn.Linear(32, V), gate=nn.Linear(32, 1)
    )
    tokens = torch.randint(1, V, (2, 4))
    plain = model(tokens)
    lam = plain.exit_logits().sigmoid()
    model.halting = 1e-6  # nothing halts before the last loop
    weights = [lam[0], lam[1].minimum(1 - lam[0]), (1 - lam[0] - lam[1]).clamp(min=0)]
    state = sum(w[..., None] * plain.state(t + 1) for t, w in enumerate(weights))
    assert torch.allclose(model(tokens).logits(), model.head(state), atol=1e-5)


class EveryMap(nn.Module):
    """Every kind of map: two are inside of layers, torch's attention and recurrence, others not."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embedding, self.places = nn.Embedding(V, 8), nn.Embedding(4, 8)
        self.up, self.down = nn.Linear(8, 32), nn.Linear(32, 8, bias=False)
        self.attention = nn.MultiheadAttention(8, 2)
        self.gru, self.lstm = nn.GRU(8, 8), nn.LSTM(8, 4)
        self.halt, self.words = nn.Linear(8, 1), nn.Linear(8, V, bias=False)
        self.mixed, self.norm = nn.Parameter(torch.ones(2, 8)), nn.LayerNorm(8)
        if tied:
            self.words.weight = self.embedding.weight

    def forward(self, tokens, n_loops):
        raise NotImplementedError


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("with_head", [False, True])
def test_the_matrices_inside_are_those_of_linear_maps(tied: bool, with_head: bool) -> None:
    module = EveryMap(tied)
    model = ForeignModel(module, Shape(width=8), head=nn.Linear(8, V) if with_head else None)
    named = {id(p): name for name, p in module.named_parameters()}
    found = {named[id(p)]: parts for p, parts in model.hidden_matrices().items()}
    expected = {"up.weight": 1, "down.weight": 1, "attention.out_proj.weight": 1}
    expected |= {"attention.in_proj_weight": 3, "gru.weight_ih_l0": 3, "gru.weight_hh_l0": 3}
    expected |= {"lstm.weight_ih_l0": 4, "lstm.weight_hh_l0": 4}
    # a map to the words is no head of the model's where that has one, unless it is the embedding
    expected |= {"words.weight": 1} if with_head and not tied else {}
    assert found == expected
    for p, parts in model.hidden_matrices().items():
        assert p.shape[0] % parts == 0
