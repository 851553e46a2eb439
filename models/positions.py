"""Positions of tokens and numbers of loops, as angles and as vectors.

Legend: B documents, T tokens, H heads, D width.
"""

import torch
from torch import Tensor

from models.config import LoopedConfig

#: cos and sin of the rotary angles, [T, r/2] or [B, 1, T, r/2], r the dimensions that turn
RotaryTable = tuple[Tensor, Tensor]


def rotary_table(positions: Tensor, size: int, base: float) -> RotaryTable:
    """cos and sin, each [..., T, size/2] (RoFormer, 2104.09864)."""
    exponent = torch.arange(0, size, 2, device=positions.device, dtype=torch.float32)
    frequency = base ** (-exponent / size)
    angle = positions.to(torch.float32)[..., None] * frequency
    return angle.cos(), angle.sin()


def table_of(config: LoopedConfig, positions: Tensor) -> RotaryTable | None:
    """The angles of positions int[T] or int[B, T]; None for a model without rotary positions."""
    if not config.rotary_size:
        return None
    cos, sin = rotary_table(positions, config.rotary_size, config.rope_base)
    # one row of angles per document, the same for every head
    return (cos[:, None], sin[:, None]) if positions.dim() == 2 else (cos, sin)


def rotate(x: Tensor, table: RotaryTable | None) -> Tensor:
    """Turns the two halves of the first r dimensions of x [B, H, T, D/H] against each other."""
    if table is None:
        return x
    cos, sin = (t.to(x.dtype) for t in table)
    size = 2 * cos.shape[-1]
    first, second = x[..., :size].chunk(2, dim=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    if size == x.shape[-1]:
        return torch.cat(turned, dim=-1)
    return torch.cat((*turned, x[..., size:]), dim=-1)


def sinusoid(number: int, like: Tensor) -> Tensor:
    """[D] sines, then cosines, of a number (2017's 1706.03762 §3.5), on the device of `like`."""
    width = like.shape[-1]
    sines = (width + 1) // 2
    exponent = torch.arange(sines, device=like.device, dtype=torch.float32) / max(width // 2, 1)
    angle = number * 10_000.0**-exponent
    return torch.cat((angle.sin(), angle.cos()))[:width].to(like.dtype)
