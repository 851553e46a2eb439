"""A block whose output a GRU-like gate lets in (2603.21676): bias -2, so that 88 % are kept.

`loopscope check gated_loop.py:GatedLoop`
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from models.adapter import ForeignModel
from models.model import ModelConfig

#: σ(-2) = .12 of the candidate is let in at the start
BIAS = -2.0
#: at which branches start (LayerScale)
BRANCH = 1e-4


class Module(nn.Module):
    """One block; which loop it is, is added before it, and what enters the loop is seen by it."""

    def __init__(self, width: int, heads: int, depths: int, vocabulary: int) -> None:
        super().__init__()
        self.heads = heads
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(512, width)
        self.depth = nn.Embedding(depths, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.branches = nn.Parameter(torch.full((2, width), BRANCH))
        self.gate = nn.Linear(2 * width, width)
        nn.init.constant_(self.gate.bias, BIAS)

    def block(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        qkv = self.qkv(self.norms[0](x)).view(B, T, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.branches[0] * self.out(seen.transpose(1, 2).reshape(B, T, D))
        return x + self.branches[1] * self.down(gelu(self.up(self.norms[1](x))))

    def forward(self, tokens: Tensor, n_loops: int) -> list[Tensor]:
        """States [B, T, D] after every loop: (1 - z) of the old one and z of the block's."""
        T = tokens.shape[1]
        read = self.embedding(tokens) + self.positions(torch.arange(T, device=tokens.device))
        x, states = read, []
        for t in range(n_loops):
            step = self.depth(torch.tensor(t % self.depth.num_embeddings, device=tokens.device))
            candidate = self.block(x + step)
            z = torch.sigmoid(self.gate(torch.cat([x, candidate], dim=-1)))
            x = (1 - z) * x + z * candidate
            states.append(self.norms[2](x))
        return states


class GatedLoop(ModelConfig):
    """A gated loop; `width` and `loops` are inherited, `core` is not used."""

    kind: Literal["gated-loop-example"] = "gated-loop-example"
    heads: int = 2
    loops: int = 4
    depths: int = 16

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        module = Module(self.width, self.heads, self.depths, vocabulary_size)
        head = nn.Linear(self.width, vocabulary_size, bias=False)
        return ForeignModel(
            module, self, head=head, gate=nn.Linear(self.width, 1) if gate else None
        )
