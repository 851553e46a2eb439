"""What a block does at each position by itself: an MLP, or a mixture of them.

Legend: B documents, T tokens, D width, E experts, K experts of each token.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import LoopedConfig
from models.fast.fused import worthwhile
from models.joint import linear


class Routing(NamedTuple):
    """What a router decided: probability [B, T, E], the experts chosen int64[B, T, K]."""

    probability: Tensor
    chosen: Tensor


#: is told the routing of every application of a mixture
Routed = Callable[[Routing], None]


class MLP(nn.Module):
    """SwiGLU (2002.05202) or GELU, no biases."""

    def __init__(self, config: LoopedConfig) -> None:
        super().__init__()
        self.gated = config.mlp != "gelu"
        self.hidden = config.hidden
        columns = 2 * self.hidden if self.gated else self.hidden
        self.up = nn.Linear(config.width, columns, bias=False)
        self.down = nn.Linear(self.hidden, config.width, bias=False)

    def forward(self, x: Tensor, routed: Routed | None = None) -> Tensor:
        if self.gated:
            if worthwhile(self, x):  # two products spare the backward pass a copy of both halves
                gate, up = (linear(x, half) for half in self.up.weight.chunk(2, dim=-2))
            else:
                gate, up = self.up(x).split(self.hidden, dim=-1)
            return self.down(F.silu(gate) * up)
        return self.down(F.gelu(self.up(x)))

    def parts(self) -> list["MLP"]:
        """The MLPs that this consists of."""
        return [self]


class MixtureOfExperts(nn.Module):
    """Each token goes through its K likeliest experts; no expert is ever full.

    Top-1 weighs its expert by its probability (Switch, 2101.03961 eq. 2), so that the router
    learns; top-2 by the two probabilities, made to sum to 1 (GShard, 2006.16668).
    """

    def __init__(self, config: LoopedConfig) -> None:
        super().__init__()
        self.k = config.experts_per_token
        self.router = nn.Linear(config.width, config.experts, bias=False)
        self.experts = nn.ModuleList(MLP(config) for _ in range(config.experts))

    def forward(self, x: Tensor, routed: Routed | None = None) -> Tensor:
        logits = self.router(x)
        # in half precision two experts would tie too often
        probability = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)
        weight, chosen = probability.topk(self.k, dim=-1)  # both [B, T, K]
        if routed is not None:
            routed(Routing(probability, chosen))
        if self.k > 1:
            weight = weight / weight.sum(-1, keepdim=True)
        flat, out = x.flatten(0, -2), torch.zeros_like(x).flatten(0, -2)
        chosen, weight = chosen.flatten(0, -2), weight.flatten(0, -2).to(x.dtype)
        for i, expert in enumerate(self.experts):
            token, rank = (chosen == i).nonzero(as_tuple=True)
            share = expert(flat[token]) * weight[token, rank, None]
            out = out.index_add(0, token, share.to(out.dtype))
        return out.view_as(x)

    def parts(self) -> list[MLP]:
        """The experts."""
        return [expert for expert in self.experts if isinstance(expert, MLP)]


def imbalance(routing: Routing, counted: Tensor) -> Tensor:
    """Load-balancing loss E·Σ_i f_i·P_i (2101.03961 eq. 4); 1 where all experts are used alike.

    f_i is the share of all choices that fell on expert i, P_i its mean probability, both over
    the tokens where `counted` (bool[B, T]).
    """
    probability, chosen = routing.probability[counted], routing.chosen[counted]
    E = probability.shape[-1]
    share = F.one_hot(chosen, E).to(probability.dtype).mean((0, 1))
    return E * (share * probability.mean(0)).sum()
