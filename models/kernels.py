"""Element-wise parts of a block with their gradients written out, for training on a CPU.

There the many small operations into which autograd splits norms and rotations are a good part of
a narrow model's time. Each function equals its plain form up to rounding; gradients of gradients
are not to be had.

Legend: D width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def worthwhile(module: torch.nn.Module, x: Tensor) -> bool:
    """Whether to use these: only while training, and a GPU has its own fused operations.

    Never in a compiled block: the compiler fuses by itself, and what it makes of the in-place
    operations below is wrong (torch 2.13: the loss by 1 %, gradients by their whole size).
    """
    if torch.compiler.is_compiling():
        return False
    return module.training and x.requires_grad and x.device.type == "cpu"


class FusedRMSNorm(Function):
    """x·w / √(mean(x²) + ε), with x and one scale per position kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
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
        return (grad * weight).mul_(scale).addcmul_(x, inner), of_weight.view(D), None


class Rotation(Function):
    """Turns the two halves of the last dimension against each other by the angles' cos and sin."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore [bad-override] one output, so one gradient
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, sin, -1), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, direction: int) -> Tensor:
    result = torch.empty_like(x)
    size = cos.shape[-1]
    first, second = x[..., :size], x[..., size : 2 * size]
    torch.mul(first, cos, out=result[..., :size]).addcmul_(second, sin, value=-direction)
    torch.mul(second, cos, out=result[..., size : 2 * size]).addcmul_(first, sin, value=direction)
    if 2 * size < x.shape[-1]:
        result[..., 2 * size :] = x[..., 2 * size :]
    return result
