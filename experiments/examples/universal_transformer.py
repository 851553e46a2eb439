"""The Universal Transformer, from the text of its paper (1807.03819, section 2.1), with a gate.

`loopscope check universal_transformer.py:UniversalTransformer`
"""

from math import log
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention

from models.adapter import ForeignModel
from models.model import ModelConfig


def signal(length: int, width: int, first: int = 0) -> Tensor:
    """Sinusoids [length, width] of the numbers from `first` on; sines in even columns."""
    numbers = torch.arange(first, first + length)[:, None]
    rates = torch.exp(torch.arange(0, width, 2) * (-log(10_000.0) / width))
    angles = numbers * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class Module(nn.Module):
    """One block of self-attention and transition; both norms stand behind the sums, as there."""

    def __init__(self, width: int, heads: int, vocabulary: int) -> None:
        super().__init__()
        self.heads = heads
        self.embedding = nn.Embedding(vocabulary, width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def attention(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(seen.transpose(1, 2).reshape(B, T, D))

    def forward(self, tokens: Tensor, n_loops: int) -> list[Tensor]:
        """States [B, T, D] after every step t: the signals of position and t come before it."""
        x, states = self.embedding(tokens), []
        T, D = x.shape[1:]
        positions = signal(T, D).to(x)
        for t in range(1, n_loops + 1):
            x = x + positions + signal(1, D, first=t).to(x)
            x = self.norms[0](x + self.attention(x))
            x = self.norms[1](x + self.down(relu(self.up(x))))
            states.append(x)
        return states


class UniversalTransformer(ModelConfig):
    """A Universal Transformer; `width` and `loops` are inherited, `core` is not used."""

    kind: Literal["universal-transformer"] = "universal-transformer"
    heads: int = 2
    loops: int = 4

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        module = Module(self.width, self.heads, vocabulary_size)
        head = nn.Linear(self.width, vocabulary_size, bias=False)
        halting = nn.Linear(self.width, 1) if gate else None
        return ForeignModel(module, self, head=head, gate=halting)
