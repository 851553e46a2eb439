"""Several models of one shape computed in one pass: every weight has a replica axis before its own.

Documents of all replicas lie behind each other on the batch axis, so everything that has no weight
(attention, rotations, activations, reading) is that of a single model. Only what multiplies by a
weight knows of replicas; it splits the first axis of its input into them.

Legend: R replicas, B documents of each, D width, … any further axes.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from models.fast.fused import worthwhile
from models.layers.norms import RMSNorm


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [R·B, …, D] times weight [O, D] or [R, O, D]: [R·B, …, O]."""
    if weight.dim() == 2:
        return F.linear(x, weight)
    R, rows, D = weight.shape
    return torch.bmm(x.reshape(R, -1, D), weight.mT).view(*x.shape[:-1], rows)


def spread(vector: Tensor, x: Tensor) -> Tensor:
    """A vector [D] or [R, D] so that it broadcasts to x [R·B, …, D]."""
    if vector.dim() == 1:
        return vector
    rows = vector.repeat_interleave(len(x) // len(vector), 0)
    return rows.view(len(x), *[1] * (x.dim() - 2), -1)


class StackedLinear(nn.Module):
    """weight [R, O, D], bias [R, O] or None."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        y = linear(x, self.weight)
        return y if self.bias is None else y + spread(self.bias, y)


class StackedEmbedding(nn.Module):
    """weight [R, V, D]; ids [R·B, …]."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight
        self.num_embeddings = weight.shape[1]

    def forward(self, ids: Tensor) -> Tensor:
        R, V, D = self.weight.shape
        first = V * torch.arange(R, device=ids.device).view(R, *[1] * ids.dim())
        rows = ids.view(R, -1, *ids.shape[1:]) + first
        return F.embedding(rows.view_as(ids), self.weight.view(-1, D))


class StackedRMSNorm(nn.Module):
    """weight [R, D]."""

    def __init__(self, weight: nn.Parameter, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = weight, eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        if worthwhile(self, x):
            return _FusedNorm.apply(x, self.weight, self.eps)
        R, D = self.weight.shape
        normed = F.rms_norm(x, (D,), None, self.eps)
        return (normed.view(R, -1, D) * self.weight[:, None]).view_as(x)


class _FusedNorm(Function):
    """As `kernels.FusedRMSNorm`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        R, D = weight.shape
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = norm.square_().div_(D).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).view(R, -1, D).mul_(weight[:, None]).view_as(x)

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore [bad-override] one output, so one gradient
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        R, D = weight.shape
        product = (grad * x).view(R, -1, D)
        of_weight = scale.view(R, 1, -1) @ product
        along = (product @ weight[..., None]).view_as(scale)
        inner = along.mul_(scale**3).div_(-D)
        of_x = (grad.reshape(R, -1, D) * weight[:, None]).view_as(x).mul_(scale)
        return of_x.addcmul_(x, inner), of_weight.view(R, D), None


def stacked(model: nn.Module, weights: dict[str, nn.Parameter]) -> None:
    """Gives a model, in place, the stacked weights [R, …] under the names of its own.

    Args:
        weights: of every name of `named_parameters`; one that is shared is given once.

    Raises:
        ValueError: a module with weights of which there is no stacked kind.
    """
    shared = {id(p): weights[name] for name, p in model.named_parameters()}

    def of(parameter: Tensor) -> nn.Parameter:
        return shared[id(parameter)]

    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            new: nn.Module | None = None
            if isinstance(module, nn.Linear):
                bias = None if module.bias is None else of(module.bias)
                new = StackedLinear(of(module.weight), bias)
            elif isinstance(module, nn.Embedding):
                new = StackedEmbedding(of(module.weight))
            elif isinstance(module, RMSNorm):
                new = StackedRMSNorm(of(module.weight), cast(float, module.eps))
            if new is not None:
                setattr(parent, name, new)
    known = {id(weight) for weight in weights.values()}
    if alone := [name for name, p in model.named_parameters() if id(p) not in known]:
        raise ValueError(f"{', '.join(alone)} cannot be stacked: no module here computes them so")


def stack_tensors(tensors: Sequence[Tensor]) -> Tensor:
    """[R, …] in memory of its own."""
    return torch.stack([t.detach() for t in tensors])
