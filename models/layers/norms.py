"""Norms of the residual stream."""

from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """Root-mean-square norm (1910.07467) in the precision of its weight, under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))
