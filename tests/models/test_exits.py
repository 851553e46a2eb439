"""The exit distribution against its definition, multiplied out one probability at a time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.exits import exit_log_probabilities, halting, quantile_exit

logits = st.lists(st.floats(-8, 8), min_size=1, max_size=6)


def brute_force(values):
    """p(t) = λ_t Π_{j<t}(1-λ_j), the last takes what is left."""
    gates = [1 / (1 + math.exp(-v)) for v in values]
    found, survived = [], 1.0
    for gate in gates[:-1]:
        found.append(gate * survived)
        survived *= 1 - gate
    return [*found, survived]


@settings(max_examples=100)
@given(logits)
def test_probabilities_by_brute_force(values):
    p = exit_log_probabilities(torch.tensor(values, dtype=torch.float64)[:, None]).exp()[:, 0]
    torch.testing.assert_close(p, torch.tensor(brute_force(values), dtype=torch.float64))
    assert float(p.sum()) == pytest.approx(1)


def test_the_last_gate_is_ignored():
    a, b = torch.tensor([0.3, -1.0, 5.0]), torch.tensor([0.3, -1.0, -5.0])
    torch.testing.assert_close(exit_log_probabilities(a), exit_log_probabilities(b))


def test_extreme_gates_stay_finite():
    log_p = exit_log_probabilities(torch.tensor([200.0, 200.0, 0.0]))
    assert log_p.isfinite().all() and float(log_p.exp().sum()) == pytest.approx(1)


@settings(max_examples=100)
@given(logits, st.floats(0, 0.999))
def test_quantile_exit_is_the_first_loop_that_reaches_q(values, q):
    log_p = exit_log_probabilities(torch.tensor(values, dtype=torch.float64))
    total = 0.0
    for expected, p in enumerate(log_p.exp().tolist(), start=1):  # noqa: B007
        total += p
        if total >= q:
            break
    assert int(quantile_exit(log_p, q)) == expected


def test_a_threshold_of_one_never_exits_early():
    """In fp32 a gate of 40 has sigmoid exactly 1, so that the CDF reaches 1 at once."""
    log_p = exit_log_probabilities(torch.full((4, 2), 40.0))
    assert quantile_exit(log_p, 0.999).tolist() == [1, 1]
    assert quantile_exit(log_p, 1.0).tolist() == [4, 4]
    assert quantile_exit(log_p, 0.0).tolist() == [1, 1]
    with pytest.raises(ValueError, match="0 or more, got -0.1"):
        quantile_exit(log_p, -0.1)


def test_quantile_exit_leaves_at_the_loop_that_reaches_q_exactly():
    """A CDF of .5, .75, .875, 1: powers of two, so that nothing is rounded."""
    log_p = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64).log()
    assert log_p.exp().cumsum(0).tolist() == [0.5, 0.75, 0.875, 1.0]
    found = {q: int(quantile_exit(log_p, q)) for q in (0.25, 0.5, 0.51, 0.75, 0.875, 0.9)}
    assert found == {0.25: 1, 0.5: 1, 0.51: 2, 0.75: 2, 0.875: 3, 0.9: 4}
    never_at_first = torch.tensor([-math.inf, 0.0])  # p = (0, 1), and 0 reaches q = 0
    assert int(quantile_exit(never_at_first, 0.0)) == 1


def test_halting_stops_at_the_loop_that_reaches_its_threshold_exactly():
    """λ = 1/2 in every loop: sums of .5, 1, 1.5 against thresholds of 1/2 and 3/4."""
    half = torch.zeros(3, 1, dtype=torch.float64)
    weights, ponder = halting(half, 0.5)
    assert weights[:, 0].tolist() == [1, 0, 0] and ponder.tolist() == [1 + 1]
    weights, ponder = halting(half, 0.25)
    assert weights[:, 0].tolist() == [0.5, 0.5, 0] and ponder.tolist() == [2 + 0.5]
    weights, ponder = halting(half[:1], 0.25)  # the last loop takes what is left
    assert weights.tolist() == [[1]] and ponder.tolist() == [1 + 1]
