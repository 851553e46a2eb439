"""Exit rules at their thresholds exactly, in numbers that are not rounded."""

import torch

from models.decoding.early_exit import PredictionEntropy, QuantileExit, Seen, StateDifference


def test_a_quantile_is_reached_when_the_cdf_equals_it():
    """Two gates of 1/2: a CDF of 1/2, then 3/4."""
    state, gates = torch.zeros(1, 2), torch.zeros(2, 1)
    assert bool(QuantileExit(q=0.5).leaves(Seen(state, exit_logits=gates[:1])))
    assert not bool(QuantileExit(q=0.51).leaves(Seen(state, exit_logits=gates[:1])))
    assert bool(QuantileExit(q=0.75).leaves(Seen(state, exit_logits=gates)))
    assert not bool(QuantileExit(q=0.76).leaves(Seen(state, exit_logits=gates)))


def test_a_state_that_moves_by_epsilon_has_not_come_to_rest():
    """A step of (3, 4) is one of 5."""
    seen = Seen(torch.tensor([[3.0, 4.0]]), previous=torch.zeros(1, 2))
    assert not bool(StateDifference(epsilon=5).leaves(seen))
    assert bool(StateDifference(epsilon=5.001).leaves(seen))


def test_an_entropy_of_the_threshold_is_not_below_it():
    """One certain token has no entropy, which is not below none; two alike have log 2 nats."""
    state = torch.zeros(1, 2)
    certain, alike = torch.tensor([[0.0, -1e4, -1e4]]), torch.tensor([[0.0, 0.0, -1e4]])
    assert not bool(PredictionEntropy(nats=0).leaves(Seen(state, logits=certain)))
    assert bool(PredictionEntropy(nats=1e-9).leaves(Seen(state, logits=certain)))
    assert not bool(PredictionEntropy(nats=0.69).leaves(Seen(state, logits=alike)))
    assert bool(PredictionEntropy(nats=0.70).leaves(Seen(state, logits=alike)))
