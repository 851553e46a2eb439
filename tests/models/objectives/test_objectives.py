"""Objectives against sums written out, and their gradients against finite differences."""

import math

import pytest
import torch
from torch.nn import functional as F

from models.config import LoopedConfig
from models.objectives.entropy import Entropy
from models.objectives.last_loop import LastLoop

V, LOOPS = 7, 3


@pytest.fixture
def case():
    """A float64 model with a gate that is not at its start, and a batch."""
    model = LoopedConfig(width=8, heads=1, loops=LOOPS).build(V, gate=True, seed=0).double()
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        model.gate.weight.normal_(generator=rng)
        model.head.weight.normal_(generator=rng)
    tokens = torch.randint(1, V, (2, 5), generator=rng)
    at = (torch.tensor([0, 0, 1]), torch.tensor([1, 3, 2]))
    return model, tokens, at, torch.tensor([2, 5, 1])


def independent_entropy(model, tokens, at, targets, beta):
    """Σ_t p(t)·CE_t - β·H(p), position by position, from the definition."""
    outputs, total = model(tokens), 0.0
    for m, (row, column) in enumerate(zip(*(a.tolist() for a in at), strict=True)):
        survived, loss, entropy = 1.0, 0.0, 0.0
        for t in range(1, LOOPS + 1):
            state = outputs.state(t)[row, column]
            gate = torch.sigmoid(state @ model.gate.weight[0] + model.gate.bias[0])
            p = gate * survived if t < LOOPS else survived
            survived = survived * (1 - gate)
            loss = loss - p * (model.head.weight @ state).softmax(0)[targets[m]].log()
            entropy = entropy - p * p.log()
        total = total + loss - beta * entropy
    return total / len(targets)


def test_last_loop_is_the_cross_entropy_of_the_last_loop(case):
    model, tokens, at, targets = case
    loss = LastLoop().loss(model(tokens), at, targets).total
    p = model(tokens).logits(LOOPS)[at].softmax(-1)
    expected = -torch.stack([p[m, y].log() for m, y in enumerate(targets)]).mean()
    torch.testing.assert_close(loss, expected, check_dtype=False, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.1, 2.0])
def test_entropy_equals_the_sum_written_out(case, beta):
    model, tokens, at, targets = case
    loss = Entropy(beta=beta).loss(model(tokens), at, targets).total
    expected = independent_entropy(model, tokens, at, targets, beta)
    torch.testing.assert_close(loss, expected, check_dtype=False, rtol=1e-5, atol=1e-6)
    override = Entropy(beta=9.0).loss(model(tokens), at, targets, beta=beta).total
    torch.testing.assert_close(override, loss)


def test_entropy_is_a_kl_penalty_to_the_uniform_prior_up_to_a_constant(case):
    model, tokens, at, targets = case
    from models.exits import exit_log_probabilities

    outputs, beta = model(tokens), 0.3
    log_p = exit_log_probabilities(outputs.exit_logits(at))
    losses = torch.stack(
        [F.cross_entropy(outputs.logits(t, at), targets, reduction="none") for t in (1, 2, 3)]
    )
    kl = (log_p.exp() * (log_p + math.log(LOOPS))).sum(0)
    expected = ((log_p.exp() * losses).sum(0) + beta * kl).mean() - beta * math.log(LOOPS)
    loss = Entropy(beta=beta).loss(outputs, at, targets).total
    torch.testing.assert_close(loss, expected, check_dtype=False, rtol=1e-5, atol=1e-6)


def test_gradients_reach_model_and_gate_and_match_the_independent_sum(case):
    model, tokens, at, targets = case
    parameters = list(model.parameters())
    ours = torch.autograd.grad(Entropy(beta=0.1).loss(model(tokens), at, targets).total, parameters)
    theirs = torch.autograd.grad(independent_entropy(model, tokens, at, targets, 0.1), parameters)
    for name, a, b in zip(dict(model.named_parameters()), ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)
        assert a.abs().max() > 0, name


def test_what_is_logged_adds_up(case):
    model, tokens, at, targets = case
    loss = Entropy(beta=0.1).loss(model(tokens), at, targets)
    exits = [float(loss.logged[f"exit.{t}"]) for t in (1, 2, 3)]
    assert sum(exits) == pytest.approx(1, abs=1e-6)
    assert not any(v.requires_grad for v in loss.logged.values())


def test_an_objective_knows_what_it_needs():
    assert LastLoop().losses_computed(4) == 1 and Entropy().losses_computed(4) == 4
    assert Entropy.uses_gate and not LastLoop.uses_gate
    with pytest.raises(ValueError, match="beta"):
        Entropy(beta=-1)
