"""Norms and learned vectors of the residual stream."""

import torch
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """Root-mean-square norm (1910.07467) in the precision of its weight, under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class Vector(nn.Module):
    """A learned vector, the same for every token."""

    def __init__(self, width: int, value: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), value))

    def forward(self, x: Tensor) -> Tensor:
        """[D], which joins x."""
        return self.weight
