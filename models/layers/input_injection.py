"""What joins the state before every loop: the loop's input, and which loop it is.

Legend: B documents, T tokens, D width.
"""

import torch
from torch import Tensor, nn

from models.layers.norms import RMSNorm
from models.positions import sinusoid
from models.shape import LoopedShape


class LoopEmbedding(nn.Embedding):
    """A learned vector for every loop, counted from 1."""

    def forward(self, loop: int, x: Tensor) -> Tensor:  # pyrefly: ignore [bad-override]
        """[D], which joins x."""
        return self.weight[loop - 1]


class InputInjection(nn.Module):
    """x ← inject(x, e) + embedding(loop), e the normed output of embedding and prelude.

    e is normed because a fresh embedding is fifty times smaller than the normed state it is to
    join. With injection (Huginn, 2502.05171 §3) the state before the first loop is zero, so that
    `add` begins with e itself; without, it is e. `sinusoidal` is the time signal of the
    Universal Transformer (1807.03819 §2.1) without its positions.
    """

    def __init__(self, shape: LoopedShape, norm: type[RMSNorm] = RMSNorm) -> None:
        super().__init__()
        width, rows = shape.width, shape.embedded_loops
        self.injection, self.loop_embedding = shape.injection, shape.loop_embedding
        self.norm = norm(width, eps=shape.norm_eps)
        concat = shape.injection == "concat"
        self.project = nn.Linear(2 * width, width, bias=False) if concat else None
        self.loops = None if rows is None else LoopEmbedding(rows, width)

    def begin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(state before the first loop, e), both [B, T, D]."""
        e = self.norm(x)
        return (e if self.injection == "none" else torch.zeros_like(e)), e

    def forward(self, x: Tensor, e: Tensor, loop: int) -> Tensor:
        """The state [B, T, D] with which loop `loop` (from 1) begins."""
        if self.project is not None:
            x = self.project(torch.cat((x, e), dim=-1))
        elif self.injection == "add":
            x = x + e
        if self.loops is not None:
            return x + self.loops(loop, x)
        return x if self.loop_embedding == "none" else x + sinusoid(loop, x)
