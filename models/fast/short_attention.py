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

from models.fast.fused import Angles, turn
from models.positions import RotaryTable


def causal(T: int, device: torch.device) -> Tensor:
    """bool[T, T]: every token sees itself and those before it."""
    return torch.ones(T, T, dtype=torch.bool, device=device).tril()


def short_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    mask: Tensor,
    tables: tuple[RotaryTable, RotaryTable] | None,
) -> Tensor:
    """Mixed values [B, Q, D], the heads side by side.

    Args:
        q, k, v: [B, Q, D], twice [B, T, D], before any rotation.
        mask: bool, broadcastable to [B, H, Q, T]: True where a query sees a key.
        tables: rotary angles of queries and of keys; None: nothing turns.
    """
    scale, turns = (q.shape[-1] // heads) ** -0.5, None
    # large scores, rounded, would be an error of several percent in the probabilities
    computed = torch.promote_types(q.dtype, torch.float32)
    if tables is not None:
        of_q, of_k = ((t[0].to(computed), t[1].to(computed)) for t in tables)
        turns = (Angles.of(of_q, q, heads, scale), Angles.of(of_k, k, heads))
    return _Attention.apply(q, k, v, heads, mask, turns, scale, computed)


class _Attention(Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        heads: int,
        mask: Tensor,
        turns: tuple[Angles, Angles] | None,
        scale: float,
        computed: torch.dtype,
    ) -> Tensor:
        ctx.heads, ctx.turns, ctx.scale = heads, turns, scale
        kept = q.dtype
        q, k = q.to(computed), k.to(computed)
        q, k = (q * scale, k) if turns is None else (turn(q, turns[0]), turn(k, turns[1]))
        q, k, v = (_apart(x, heads) for x in (q, k, v))
        with torch.autocast("cpu", enabled=False):
            score = torch.bmm(q, k.mT)
            unseen = torch.zeros(mask.shape, dtype=score.dtype).masked_fill_(~mask, -torch.inf)
            score.view(-1, heads, *score.shape[1:]).add_(unseen)
            probability = score.softmax(-1).to(kept)
            ctx.save_for_backward(q.to(kept), k.to(kept), v, probability)
            return _beside(torch.bmm(probability, v), heads)

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore [bad-override] one output, so one gradient
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        q, k, v, probability = ctx.saved_tensors
        grad = _apart(grad, ctx.heads)
        of_v = torch.bmm(probability.mT, grad)
        of_probability = torch.bmm(grad, v.mT)
        of_score = torch._softmax_backward_data(of_probability, probability, -1, q.dtype)
        of_q, of_k = torch.bmm(of_score, k), torch.bmm(of_score.mT, q)
        of_q, of_k, of_v = (_beside(x, ctx.heads) for x in (of_q, of_k, of_v))
        if ctx.turns is None:
            of_q = of_q.mul_(ctx.scale)
        else:
            of_q, of_k = turn(of_q, ctx.turns[0], -1), turn(of_k, ctx.turns[1], -1)
        return of_q, of_k, of_v, None, None, None, None, None


def _apart(x: Tensor, heads: int) -> Tensor:
    """[B·H, T, D/H] of [B, T, D]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2).flatten(0, 1)


def _beside(x: Tensor, heads: int) -> Tensor:
    """[B, T, D] of [B·H, T, D/H]."""
    return x.unflatten(0, (-1, heads)).transpose(1, 2).flatten(-2)
