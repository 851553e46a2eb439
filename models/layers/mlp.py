"""What a block does at each position by itself: an MLP, or a mixture of them.

Legend: B documents, T tokens, D width, E experts, K experts of each token.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.shape import LoopedShape


class Routing(NamedTuple):
    """What a router decided: probability [B, T, E], the experts chosen int64[B, T, K]."""

    probability: Tensor
    chosen: Tensor


#: receives the routing of every application of a mixture
RoutingHook = Callable[[Routing], None]


class MLP(nn.Module):
    """SwiGLU (2002.05202) or GELU, no biases."""

    def __init__(self, shape: LoopedShape) -> None:
        super().__init__()
        self.gated = shape.mlp != "gelu"
        self.hidden = shape.hidden
        columns = 2 * self.hidden if self.gated else self.hidden
        self.up = nn.Linear(shape.width, columns, bias=False)
        self.down = nn.Linear(self.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, routing_hook: RoutingHook | None = None) -> Tensor:
        if not self.gated:
            return self.down(F.gelu(self.up(x)))
        gate, up = self.gate_and_up(x)
        return self.down(F.silu(gate) * up)

    def gate_and_up(self, x: Tensor) -> tuple[Tensor, ...]:
        """The two halves of the product of x and the first matrix."""
        return self.up(x).split(self.hidden, dim=-1)


class MixtureOfExperts(nn.Module):
    """Each token goes through its K likeliest experts; no expert is ever full.

    Top-1 weighs its expert by its probability (Switch, 2101.03961 eq. 2), so that the router
    learns; top-2 by the two probabilities, made to sum to 1 (GShard, 2006.16668).
    """

    def __init__(self, shape: LoopedShape, mlp: type[MLP] = MLP) -> None:
        super().__init__()
        self.k = shape.experts_per_token
        self.router = nn.Linear(shape.width, shape.experts, bias=False)
        self.experts = nn.ModuleList(mlp(shape) for _ in range(shape.experts))

    def forward(self, x: Tensor, routing_hook: RoutingHook | None = None) -> Tensor:
        logits = self.router(x)
        # in half precision two experts would tie too often
        probability = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)
        weight, chosen = probability.topk(self.k, dim=-1)  # both [B, T, K]
        if routing_hook is not None:
            routing_hook(Routing(probability, chosen))
        if self.k > 1:
            weight = weight / weight.sum(-1, keepdim=True)
        flat, out = x.flatten(0, -2), torch.zeros_like(x).flatten(0, -2)
        chosen, weight = chosen.flatten(0, -2), weight.flatten(0, -2).to(x.dtype)
        for i, expert in enumerate(self.experts):
            token, rank = (chosen == i).nonzero(as_tuple=True)
            share = expert(flat[token]) * weight[token, rank, None]
            out = out.index_add(0, token, share.to(out.dtype))
        return out.view_as(x)


def imbalance(routing: Routing, counted: Tensor) -> Tensor:
    """Load-balancing loss E·Σ_i f_i·P_i (2101.03961 eq. 4); 1 where all experts are used alike.

    f_i is the share of all choices that fell on expert i, P_i its mean probability, both over
    the tokens where `counted` (bool[B, T]).
    """
    probability, chosen = routing.probability[counted], routing.chosen[counted]
    E = probability.shape[-1]
    share = F.one_hot(chosen, E).to(probability.dtype).mean((0, 1))
    return E * (share * probability.mean(0)).sum()


def mean_imbalance(routings: Sequence[Routing], counted: Tensor) -> Tensor | None:
    """The mean of `imbalance` over block calls; None where there are none."""
    if not routings:
        return None
    return torch.stack([imbalance(routing, counted) for routing in routings]).mean()
