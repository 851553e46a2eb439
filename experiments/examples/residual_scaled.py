"""A looped transformer whose layers add λ/(N√L) of what they compute (2606.18524).

Without a gate, with hooks between loops. N loops of L layers: the best learning rate is then said
to depend on L alone.
`loopscope check residual_scaled.py:ResidualScaled`
"""

from collections.abc import Callable
from math import sqrt
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from models.adapter import ForeignModel
from models.model import ModelConfig

Hook = Callable[[int, Tensor], Tensor]


class Layer(nn.Module):
    """Pre-norm attention and MLP; gives what they would add to the state."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.RMSNorm(width), nn.RMSNorm(width)])
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, h: Tensor, scale: float) -> Tensor:
        B, T, D = h.shape
        qkv = self.qkv(self.norms[0](h)).view(B, T, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + scale * self.out(seen.transpose(1, 2).reshape(B, T, D))
        return h + scale * self.down(gelu(self.up(self.norms[1](h))))


class Module(nn.Module):
    """L layers, run N times; positions are embedded once."""

    def __init__(self, width: int, heads: int, layers: int, scale: float, vocabulary: int) -> None:
        super().__init__()
        self.scale = scale
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(512, width)
        self.layers = nn.ModuleList([Layer(width, heads) for _ in range(layers)])
        self.norm = nn.RMSNorm(width)

    def forward(self, tokens: Tensor, n_loops: int, hook: Hook | None = None) -> list[Tensor]:
        """States [B, T, D] after every loop, normed for the head alone."""
        hook = hook or (lambda loop, h: h)
        h, states = self.embedding(tokens) + self.positions.weight[: tokens.shape[1]], []
        scale, h = self.scale / (n_loops * sqrt(len(self.layers))), hook(0, h)
        for t in range(1, n_loops + 1):
            for layer in self.layers:
                h = layer(h, scale)
            h = hook(t, h)
            states.append(self.norm(h))
        return states


class ResidualScaled(ModelConfig):
    """Layers that add λ/(N√L); `width`, `core` (L) and `loops` (N) are inherited."""

    hooks: ClassVar[bool] = True

    kind: Literal["residual-scaled-example"] = "residual-scaled-example"
    heads: int = 2
    loops: int = 4
    scale: float = 4.0

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> ForeignModel:
        module = Module(self.width, self.heads, self.core, self.scale, vocabulary_size)
        return ForeignModel(module, self, head=nn.Linear(self.width, vocabulary_size, bias=False))
