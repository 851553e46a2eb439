"""Element-wise parts of a block with their gradients written out, for training on a CPU.

There the many small operations into which autograd splits norms and rotations are a good part of
a narrow model's time. Each function equals its plain form up to rounding; gradients of gradients
are not available.

Legend: R models of one shape (models.fast.replica_axis), B documents, T tokens, D width, H heads.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.positions import RotaryAngles


def use_fused(module: torch.nn.Module, x: Tensor) -> bool:
    """Whether these functions are used: only in training, and only on a CPU.

    A GPU has its own fused operations. A compiled block never uses these: the compiler fuses by
    itself, and what it makes of the in-place operations below is wrong (torch 2.13: the loss by
    1 %, gradients by their whole size).
    """
    if torch.compiler.is_compiling():
        return False
    return module.training and x.requires_grad and x.device.type == "cpu"


class FusedRMSNorm(Function):
    """x·w / √(mean(x²) + ε) in the precision of w [D] or [R, D], for x [.., D] or [R·B, .., D].

    x and one scale per position are kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        *R, D = weight.shape
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=weight.dtype)
        scale = norm.square_().div_(D).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).reshape(*R, -1, D).mul_(weight[..., None, :]).view_as(x)

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore [bad-override] one output, so one gradient
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        *R, D = weight.shape
        product = (grad * x).reshape(*R, -1, D)
        weight_grad = (scale.view(*R, 1, -1) @ product).view_as(weight)
        # a single model's is a product with a vector, which is rounded differently
        along = (product @ (weight[..., None] if R else weight)).view_as(scale)
        inner = along.mul_(scale**3).div_(-D)
        x_grad = (grad.reshape(*R, -1, D) * weight[..., None, :]).view_as(x)
        return x_grad.mul_(scale).addcmul_(x, inner).to(x.dtype), weight_grad, None


class HeadAngles(NamedTuple):
    """Rotation of heads that lie side by side: x·along + swapped(x)·across, each [.., T, D].

    `swapped` exchanges the two halves of a head (of its first r dimensions, where only they
    rotate).
    """

    along: Tensor
    across: Tensor
    size: int
    rotating: int

    @classmethod
    def of(cls, angles: RotaryAngles, like: Tensor, heads: int, scale: float = 1.0) -> "HeadAngles":
        """The same angles for all heads of x [.., T, D], which are multiplied by `scale`."""
        cos, sin = (t.squeeze(-3) if t.dim() == 4 else t for t in angles)
        size, rotating = like.shape[-1] // heads, 2 * cos.shape[-1]
        still = (*cos.shape[:-1], size - rotating)
        along = torch.cat((cos, cos, cos.new_ones(still)), dim=-1)
        across = torch.cat((-sin, sin, sin.new_zeros(still)), dim=-1)
        times = (*[1] * (cos.dim() - 1), heads)
        along, across = (scale * t.repeat(times) for t in (along, across))
        return cls(along, across, size, rotating)


def rotate_side_by_side(x: Tensor, angles: HeadAngles, direction: int = 1) -> Tensor:
    """x [B, T, D] with every head rotated; direction -1 is the transposed map."""
    half = angles.rotating // 2
    heads = x.unflatten(-1, (-1, angles.size))
    first, second, rest = heads.split((half, half, angles.size - 2 * half), dim=-1)
    swapped = torch.cat((second, first, rest), dim=-1).flatten(-2)
    along, across = angles.along.to(x.dtype), angles.across.to(x.dtype)
    return (x * along).addcmul_(swapped, across, value=direction)


class Rotation(Function):
    """`models.positions.rotate` of heads that lie side by side in x [B, T, D]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, angles: HeadAngles) -> Tensor:
        ctx.angles = angles
        return rotate_side_by_side(x, angles)

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore [bad-override] one output, so one gradient
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, None]:
        return rotate_side_by_side(grad, ctx.angles, -1), None
