"""Positions of tokens and numbers of loops, as angles and as vectors.

Legend: B documents, T tokens, H heads, D width.
"""

import torch
from torch import Tensor

from models.shape import LoopedShape

#: cos and sin of the rotary angles, [T, r/2] or [B, 1, T, r/2], r the dimensions that rotate
RotaryAngles = tuple[Tensor, Tensor]


def rotary_angles(positions: Tensor, size: int, base: float) -> RotaryAngles:
    """cos and sin, each [..., T, size/2] (RoFormer, 2104.09864)."""
    exponent = torch.arange(0, size, 2, device=positions.device, dtype=torch.float32)
    frequency = base ** (-exponent / size)
    angle = positions.to(torch.float32)[..., None] * frequency
    return angle.cos(), angle.sin()


def angles_at(shape: LoopedShape, positions: Tensor) -> RotaryAngles | None:
    """The angles at positions int[T] or int[B, T]; None for a model without rotary positions."""
    if not shape.rotary_size:
        return None
    cos, sin = rotary_angles(positions, shape.rotary_size, shape.rope_base)
    # one row of angles per document, the same for every head
    return (cos[:, None], sin[:, None]) if positions.dim() == 2 else (cos, sin)


def rotate(x: Tensor, angles: RotaryAngles | None) -> Tensor:
    """Rotates the two halves of the first r dimensions of x [B, H, T, D/H] into each other."""
    if angles is None:
        return x
    cos, sin = (t.to(x.dtype) for t in angles)
    size = 2 * cos.shape[-1]
    first, second = x[..., :size].chunk(2, dim=-1)
    rotated = (first * cos - second * sin, second * cos + first * sin)
    if size == x.shape[-1]:
        return torch.cat(rotated, dim=-1)
    return torch.cat((*rotated, x[..., size:]), dim=-1)


def sinusoid(number: int, like: Tensor) -> Tensor:
    """[D] sines, then cosines, of a number (2017's 1706.03762 §3.5), on the device of `like`."""
    width = like.shape[-1]
    sines = (width + 1) // 2
    exponent = torch.arange(sines, device=like.device, dtype=torch.float32) / max(width // 2, 1)
    angle = number * 10_000.0**-exponent
    return torch.cat((angle.sin(), angle.cos()))[:width].to(like.dtype)


def causal(T: int, device: torch.device) -> Tensor:
    """bool[T, T]: every token sees itself and those before it."""
    return torch.ones(T, T, dtype=torch.bool, device=device).tril()


def causal_mask(attention_mask: Tensor) -> Tensor:
    """bool[B, 1, T, T]: what each token sees, given the tokens that may be seen, bool[B, T]."""
    T = attention_mask.shape[1]
    seen = causal(T, attention_mask.device) & attention_mask[:, None, None, :]
    # a padded query may see itself, so that its softmax is not empty
    return seen | torch.eye(T, dtype=torch.bool, device=attention_mask.device)
