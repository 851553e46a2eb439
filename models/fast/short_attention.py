"""Attention in short documents with its gradient written out, for training on a CPU.

torch's fused attention splits long rows into blocks and computes the probabilities once more in
the backward pass. With few tokens it is cheaper to keep them, and in half precision its backward
pass is many times slower than four matrix products.

Legend: B documents, Q queries and T keys of each, H heads, D width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.fast.fused import HeadAngles, rotate_side_by_side
from models.positions import RotaryAngles


def short_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    mask: Tensor,
    angles: tuple[RotaryAngles, RotaryAngles] | None,
) -> Tensor:
    """Mixed values [B, Q, D], the heads side by side.

    Args:
        q, k, v: [B, Q, D], twice [B, T, D], before any rotation.
        mask: bool, broadcastable to [B, H, Q, T]: True where a query sees a key.
        angles: rotary angles of queries and of keys; None: nothing is rotated.
    """
    scale, rotations = (q.shape[-1] // heads) ** -0.5, None
    # large scores, rounded, would be an error of several percent in the probabilities
    computed = torch.promote_types(q.dtype, torch.float32)
    if angles is not None:
        for_q, for_k = ((cos.to(computed), sin.to(computed)) for cos, sin in angles)
        rotations = (HeadAngles.of(for_q, q, heads, scale), HeadAngles.of(for_k, k, heads))
    return _Attention.apply(q, k, v, heads, mask, rotations, scale, computed)


class _Attention(Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        mask: Tensor,
        rotations: tuple[HeadAngles, HeadAngles] | None,
        scale: float,
        computed: torch.dtype,
    ) -> Tensor:
        ctx.heads, ctx.rotations, ctx.scale = heads, rotations, scale
        kept = q.dtype
        q, k = q.to(computed), k.to(computed)
        if rotations is None:
            q = q * scale
        else:
            q, k = (rotate_side_by_side(x, r) for x, r in zip((q, k), rotations, strict=True))
        q, k, v = (_split_heads(x, heads) for x in (q, k, v))
        with torch.autocast("cpu", enabled=False):
            score = torch.bmm(q, k.mT)
            unseen = torch.zeros(mask.shape, dtype=score.dtype).masked_fill_(~mask, -torch.inf)
            score.view(-1, heads, *score.shape[1:]).add_(unseen)
            probability = score.softmax(-1).to(kept)
            ctx.save_for_backward(q.to(kept), k.to(kept), v, probability)
            return _join_heads(torch.bmm(probability, v), heads)

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore [bad-override] one output, so one gradient
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        q, k, v, probability = ctx.saved_tensors
        grad = _split_heads(grad, ctx.heads)
        v_grad = torch.bmm(probability.mT, grad)
        probability_grad = torch.bmm(grad, v.mT)
        score_grad = torch._softmax_backward_data(probability_grad, probability, -1, q.dtype)
        q_grad, k_grad = torch.bmm(score_grad, k), torch.bmm(score_grad.mT, q)
        q_grad, k_grad, v_grad = (_join_heads(x, ctx.heads) for x in (q_grad, k_grad, v_grad))
        if ctx.rotations is None:
            q_grad = q_grad.mul_(ctx.scale)
        else:
            back = zip((q_grad, k_grad), ctx.rotations, strict=True)
            q_grad, k_grad = (rotate_side_by_side(x, angles, -1) for x, angles in back)
        return q_grad, k_grad, v_grad, None, None, None, None, None


def _split_heads(x: Tensor, heads: int) -> Tensor:
    """[B·H, T, D/H] from [B, T, D]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2).flatten(0, 1)


def _join_heads(x: Tensor, heads: int) -> Tensor:
    """[B, T, D] from [B·H, T, D/H]."""
    return x.unflatten(0, (-1, heads)).transpose(1, 2).flatten(-2)
