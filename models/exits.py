"""The distribution over exits that a gate defines (Ouro, 2510.25741 eq. 3), in log space.

Legend: n loops, … any shape of positions.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def exit_log_probabilities(exit_logits: Tensor) -> Tensor:
    """log p(t) [n, …] from gate logits [n, …].

    λ_t = sigmoid(logit_t); p(t) = λ_t Π_{j<t}(1-λ_j) for t < n, and p(n) is what survives
    loop n-1: the last gate is ignored, so that p sums to 1.
    """
    log_exit = F.logsigmoid(exit_logits[:-1])
    log_stay = F.logsigmoid(-exit_logits[:-1]).cumsum(0)
    survived = torch.cat([torch.zeros_like(exit_logits[:1]), log_stay])  # log S_{t-1}
    return torch.cat([log_exit + survived[:-1], survived[-1:]])


def halting(exit_logits: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Halting weights [n, …], which sum to 1, and ponder times N + R […] (1603.08983 eq. 6-9).

    N is the first loop in which the λ so far add up to 1 - epsilon, n at the latest; loop t < N
    weighs λ_t, loop N the remainder R = 1 - Σ_{t<N} λ_t, later ones nothing.
    """
    probability = exit_logits.sigmoid()
    so_far = probability.cumsum(0)
    halted = so_far >= 1 - epsilon
    halted[-1] = True
    N = halted.to(torch.int64).argmax(0)  # counted from 0
    loops = torch.arange(len(halted), device=N.device).view(-1, *[1] * N.dim())
    running = (loops < N).to(probability.dtype)
    remainder = 1 - (probability * running).sum(0)
    weights = probability * running + remainder * (loops == N)
    return weights, N + 1 + remainder


def halted_state(states: Sequence[Tensor], exit_logits: Tensor, epsilon: float) -> Tensor:
    """[…, D] from the states of the loops so far, weighted by their halting (1807.03819 §2.2).

    Args:
        exit_logits: [n, …] of these n states.
    """
    weights, _ = halting(exit_logits, epsilon)
    return (weights[..., None] * torch.stack(list(states))).sum(0)


def quantile_exit(exit_log_probability: Tensor, q: float) -> Tensor:
    """Q-exit: the first loop (1 … n) at which CDF(t) ≥ q, n if none; int64[…].

    q ≥ 1 never exits early, whatever rounding does to the CDF (in fp32 a sigmoid reaches 1).

    Raises:
        ValueError: q is negative.
    """
    if q < 0:
        raise ValueError(f"an exit threshold q must be 0 or more, got {q}")
    n = exit_log_probability.shape[0]
    reached = exit_log_probability.exp().cumsum(0) >= q
    reached[-1] = True
    if q >= 1:
        reached[:-1] = False
    return reached.to(torch.int64).argmax(0) + 1 if n > 1 else reached[0].to(torch.int64)
