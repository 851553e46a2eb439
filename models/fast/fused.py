"""Element-wise parts of a block with their gradients written out, for training on a CPU.

There the many small operations into which autograd splits norms and rotations are a good part of
a narrow model's time. Each function equals its plain form up to rounding; gradients of gradients
are not to be had.

Legend: B documents, T tokens, D width, H heads.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.positions import RotaryTable


def worthwhile(module: torch.nn.Module, x: Tensor) -> bool:
    """Whether to use these: only while training, and a GPU has its own fused operations.

    Never in a compiled block: the compiler fuses by itself, and what it makes of the in-place
    operations below is wrong (torch 2.13: the loss by 1 %, gradients by their whole size).
    """
    if torch.compiler.is_compiling():
        return False
    return module.training and x.requires_grad and x.device.type == "cpu"


class FusedRMSNorm(Function):
    """x·w / √(mean(x²) + ε) in the precision of w; x and one scale per position are kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        D = x.shape[-1]
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=weight.dtype)
        scale = norm.square_().div_(D).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore [bad-override] one output, so one gradient
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        D = x.shape[-1]
        product = (grad * x).view(-1, D)
        of_weight = scale.view(1, -1) @ product
        along = (product @ weight).view_as(scale)
        inner = along.mul_(scale**3).div_(-D)
        of_x = (grad * weight).mul_(scale).addcmul_(x, inner)
        return of_x.to(x.dtype), of_weight.view(D), None


class Angles(NamedTuple):
    """What turns heads that lie side by side: x·along + swapped(x)·across, each [.., T, D].

    `swapped` exchanges the two halves of a head (of its first r dimensions, where only they turn).
    """

    along: Tensor
    across: Tensor
    size: int
    turning: int

    @classmethod
    def of(cls, table: RotaryTable, like: Tensor, heads: int, scale: float = 1.0) -> "Angles":
        """Those of a table for all heads of x [.., T, D], multiplied by a scale."""
        cos, sin = (t.squeeze(-3) if t.dim() == 4 else t for t in table)
        size, turning = like.shape[-1] // heads, 2 * cos.shape[-1]
        still = (*cos.shape[:-1], size - turning)
        along = torch.cat((cos, cos, cos.new_ones(still)), dim=-1)
        across = torch.cat((-sin, sin, sin.new_zeros(still)), dim=-1)
        times = (*[1] * (cos.dim() - 1), heads)
        along, across = (scale * t.repeat(times) for t in (along, across))
        return cls(along, across, size, turning)


def turn(x: Tensor, angles: Angles, direction: int = 1) -> Tensor:
    """x [B, T, D] with every head turned; direction -1 is the transposed map."""
    half = angles.turning // 2
    heads = x.unflatten(-1, (-1, angles.size))
    first, second, rest = heads.split((half, half, angles.size - 2 * half), dim=-1)
    swapped = torch.cat((second, first, rest), dim=-1).flatten(-2)
    along, across = angles.along.to(x.dtype), angles.across.to(x.dtype)
    return (x * along).addcmul_(swapped, across, value=direction)


class Rotation(Function):
    """`models.positions.rotate` of heads that lie side by side in x [B, T, D]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, angles: Angles) -> Tensor:
        ctx.angles = angles
        return turn(x, angles)

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore [bad-override] one output, so one gradient
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, None]:
        return turn(grad, ctx.angles, -1), None
