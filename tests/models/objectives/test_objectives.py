"""Objectives against sums written out, and their gradients against finite differences."""

import math

import pytest
import torch

from models.config import LoopedConfig
from models.exits import exit_log_probabilities, halting
from models.objectives.act import ACT
from models.objectives.entropy import Entropy
from models.objectives.gate import Gate
from models.objectives.last_loop import LastLoop
from models.objectives.prior import Prior

V, LOOPS = 7, 3
OBJECTIVES = [
    LastLoop(),
    Entropy(beta=0.3),
    Prior(beta=0.3),
    Prior(beta=0.3, prior="geometric", rho=0.4),
    ACT(tau=0.2),
    Gate(),
]


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


def loss_of(objective, model, tokens, at, targets, **options):
    model.halting = objective.halting
    return objective.loss(model(tokens), at, targets, **options)


def positions(case):
    """For every predicted token: λ, cross-entropies and states of each loop, as plain numbers."""
    model, tokens, at, targets = case
    model.halting = None
    outputs = model(tokens)
    for m, (row, column) in enumerate(zip(*(a.tolist() for a in at), strict=True)):
        states = [outputs.state(t)[row, column].detach() for t in range(1, LOOPS + 1)]
        gates = [
            torch.sigmoid(s @ model.gate.weight[0] + model.gate.bias[0]).item() for s in states
        ]
        losses = [-(model.head.weight @ s).softmax(0)[targets[m]].log().item() for s in states]
        yield gates, losses, states, int(targets[m])


def exits(gates):
    p, survived = [], 1.0
    for t, gate in enumerate(gates):
        p.append(gate * survived if t < LOOPS - 1 else survived)
        survived *= 1 - gate
    return p


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


def test_gradients_reach_model_and_gate_and_match_the_independent_sum(case):
    model, tokens, at, targets = case
    parameters = list(model.parameters())
    ours = torch.autograd.grad(Entropy(beta=0.1).loss(model(tokens), at, targets).total, parameters)
    theirs = torch.autograd.grad(independent_entropy(model, tokens, at, targets, 0.1), parameters)
    for name, a, b in zip(dict(model.named_parameters()), ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)
        assert a.abs().max() > 0, name


@pytest.mark.parametrize("prior", ["uniform", "geometric"])
def test_prior_equals_the_sum_written_out(case, prior):
    rho, beta, total = 0.4, 0.3, 0.0
    if prior == "geometric":
        pi = [rho * (1 - rho) ** t / (1 - (1 - rho) ** LOOPS) for t in range(LOOPS)]
    else:
        pi = [1 / LOOPS] * LOOPS
    assert sum(pi) == pytest.approx(1)
    for gates, losses, _, _ in positions(case):
        p = exits(gates)
        total += sum(a * b for a, b in zip(p, losses, strict=True))
        total += beta * sum(a * math.log(a / b) for a, b in zip(p, pi, strict=True))
    found = loss_of(Prior(beta=beta, prior=prior, rho=rho), *case).total
    assert found.item() == pytest.approx(total / 3, rel=1e-9)
    assert loss_of(Prior(prior=prior, rho=rho), *case, beta=beta).total.item() == found.item()


def test_entropy_is_the_uniform_prior_less_a_constant(case):
    prior, entropy = (loss_of(o(beta=0.3), *case).total for o in (Prior, Entropy))
    assert (prior - entropy).item() == pytest.approx(0.3 * math.log(LOOPS), rel=1e-9)


def test_gate_equals_the_sum_written_out(case):
    total = 0.0
    for gates, losses, _, _ in positions(case):
        for t in range(1, LOOPS):
            gain = max(0.0, losses[t - 1] - losses[t])
            w = 1 / (1 + math.exp(-50 * (gain - 0.005)))
            stay = 1 - gates[t]
            total -= (w * math.log(stay) + (1 - w) * math.log(1 - stay)) / LOOPS
    assert loss_of(Gate(), *case).total.item() == pytest.approx(total / 3, rel=1e-9)


def test_gate_teaches_the_gate_alone(case):
    model = case[0]
    loss_of(Gate(), *case).total.backward()
    learned = {name for name, p in model.named_parameters() if p.grad is not None}
    assert learned == {"gate.weight", "gate.bias"}


def test_act_equals_the_sum_written_out(case):
    total, epsilon, tau = 0.0, 0.01, 0.2
    model = case[0]
    for gates, _, states, target in positions(case):
        weights, so_far = [], 0.0
        for t, gate in enumerate(gates):
            if so_far + gate >= 1 - epsilon or t == LOOPS - 1:
                remainder = 1 - so_far
                weights.append(remainder)
                break
            weights.append(gate)
            so_far += gate
        mixed = sum(w * s for w, s in zip(weights, states[: len(weights)], strict=True))
        total -= (model.head.weight @ mixed).softmax(0)[target].log().item()
        total += tau * (len(weights) + remainder)
    assert loss_of(ACT(tau=tau), *case).total.item() == pytest.approx(total / 3, rel=1e-9)


def test_halting_weights_sum_to_one_and_nothing_follows_the_halt():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 200, generator=rng, dtype=torch.float64) * 2 - 1
    logits[:, 0], logits[:, 1] = 50.0, -50.0  # halts at once; never by itself
    weights, ponder = halting(logits, 0.01)
    torch.testing.assert_close(weights.sum(0), torch.ones_like(ponder))
    assert (weights >= 0).all()
    assert weights[:, 0].tolist() == [1, 0, 0, 0, 0] and ponder[0] == 2
    assert weights[4, 1] == pytest.approx(1) and ponder[1] == pytest.approx(6)
    probability = logits.sigmoid()
    for i in range(200):
        N = next((t for t in range(5) if probability[: t + 1, i].sum() >= 0.99), 4)
        assert weights[N + 1 :, i].abs().sum() == 0
        assert torch.equal(weights[:N, i], probability[:N, i])
        assert ponder[i] == pytest.approx(N + 1 + float(weights[N, i]))


def test_a_halting_model_answers_from_the_weighted_states(case):
    model, tokens, _, _ = case
    model.halting = 0.01
    outputs = model(tokens)
    for loop in range(1, LOOPS + 1):
        assert torch.equal(outputs.logits(loop), model(tokens, loop).logits())
    weighted = outputs.logits()
    model.halting = None
    assert (weighted - model(tokens).logits()).abs().max() > 1e-3, "a control: not the last state"


@pytest.mark.parametrize(
    "objective", OBJECTIVES, ids=lambda o: f"{o.kind}-{getattr(o, 'prior', '')}"
)
def test_gradients_equal_finite_differences(case, objective):
    """Along random directions; under `gate` only the gate moves, since all else is held fixed."""
    model = case[0]
    chosen = [
        (name, p)
        for name, p in model.named_parameters()
        if name.startswith("gate.") or not objective.trains_gate_alone
    ]
    if not objective.uses_gate:
        chosen = [(name, p) for name, p in chosen if not name.startswith("gate.")]
    parameters = [p for _, p in chosen]
    gradient = torch.autograd.grad(loss_of(objective, *case).total, parameters)
    rng, step = torch.Generator().manual_seed(3), 1e-5
    for (name, parameter), slope in zip(chosen, gradient, strict=True):
        direction = torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
        values = []
        with torch.no_grad():
            for sign in (1, -1):
                parameter.add_(sign * step * direction)
                values.append(loss_of(objective, *case).total.item())
                parameter.sub_(sign * step * direction)
        difference = (values[0] - values[1]) / (2 * step)
        assert (slope * direction).sum().item() == pytest.approx(difference, rel=1e-5, abs=1e-8), (
            name
        )


@pytest.mark.parametrize("objective", [Entropy(), Prior(), Gate(), ACT()], ids=lambda o: o.kind)
def test_what_is_logged_of_the_exits(case, objective):
    values = loss_of(objective, *case).logged
    assert not any(value.requires_grad for value in values.values())
    logged = {name: value.item() for name, value in values.items()}
    p = [logged[f"exit.{t}"] for t in (1, 2, 3)]
    assert sum(p) == pytest.approx(1)
    assert logged["mean_exit"] == pytest.approx(p[0] + 2 * p[1] + 3 * p[2])
    assert 0 < logged["exit_entropy"] <= math.log(LOOPS)
    if objective.kind != "act":
        losses = [row[1] for row in positions(case)]
        for t in (1, 2, 3):
            assert logged[f"loss.{t}"] == pytest.approx(sum(row[t - 1] for row in losses) / 3)
        log_p = exit_log_probabilities(case[0](case[1]).exit_logits(case[2])).detach()
        entropy = -(log_p.exp() * log_p).sum(0).mean()
        assert logged["exit_entropy"] == pytest.approx(entropy.item())


def test_exit_objectives_need_a_gate():
    model = LoopedConfig(width=8, heads=1, loops=2).build(V, gate=False, seed=0)
    at = (torch.tensor([0]), torch.tensor([0]))
    for objective in OBJECTIVES[1:4] + OBJECTIVES[5:]:
        with pytest.raises(ValueError, match="no exit gate"):
            objective.loss(model(torch.tensor([[1, 2]])), at, torch.tensor([1]))


def test_an_objective_knows_what_it_needs():
    assert LastLoop().losses_computed(4) == 1 and Entropy().losses_computed(4) == 4
    assert Entropy.uses_gate and not LastLoop.uses_gate
    with pytest.raises(ValueError, match="beta"):
        Entropy(beta=-1)
