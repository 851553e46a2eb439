"""Exit rules at their thresholds exactly, in numbers that are not rounded."""

import torch

from models.decoding.exit_rules import (
    Acceleration,
    FixedPoint,
    PredictionChange,
    PredictionEntropy,
    QuantileExit,
    Seen,
    StateDifference,
)


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


def test_a_state_that_moves_by_its_share_is_at_no_fixed_point():
    """A step of 5 to a state of length 10; twice as large both, it is the same share."""
    for scale in (1.0, 2.0):
        state = scale * torch.tensor([[6.0, 8.0]])
        seen = Seen(state, previous=state / 2)
        assert not bool(FixedPoint(share=0.5).leaves(seen))
        assert bool(FixedPoint(share=0.501).leaves(seen))


def test_a_steady_step_has_no_acceleration_however_long_it_is():
    def seen(*along):
        states = [torch.tensor([[float(x), 0.0]]) for x in along]
        return Seen(states[-1], states[-2], before=tuple(states[-3::-1]))

    for hits in (1, 2):
        rule = Acceleration(epsilon=1, hits=hits)
        assert bool(rule.leaves(seen(0, 100, 200, 300)))
        assert not bool(rule.leaves(seen(0, 100, 200, 301)))  # by 1, which is not below it
        assert list(rule.exits(6)) == list(range(2 + hits, 7)) and list(rule.exits(2)) == [2]
    settled = seen(0, 5, 100, 195)  # the last difference is 0, the one before 90
    assert bool(Acceleration(epsilon=1, hits=1).leaves(settled))
    assert not bool(Acceleration(epsilon=1).leaves(settled))


def test_a_divergence_of_predictions_is_of_the_new_one_from_the_old():
    """KL((3/4, 1/4) ‖ (1/2, 1/2)) = log 2 - H(1/4) = 0.130812; the other way it is 0.143841."""
    new, old = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 1.0]]).log()
    seen = Seen(torch.zeros(1, 2), logits=new, previous_logits=old)
    assert bool(PredictionChange(nats=0.1309).leaves(seen))
    assert not bool(PredictionChange(nats=0.1308).leaves(seen))
    rule = PredictionChange(nats=1)
    assert (list(rule.exits(4)), list(rule.reads(4))) == ([2, 3, 4], [1, 2, 3, 4])
    assert list(rule.reads(1)) == [1] and list(PredictionEntropy(nats=1).reads(3)) == [1, 2, 3]
