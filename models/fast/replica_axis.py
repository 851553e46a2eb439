"""Several models of one shape computed in one pass: every weight has a replica axis before its own.

Documents of all replicas lie behind each other on the batch axis, so everything that has no weight
(attention, rotations, activations, reading) is that of a single model. Only what multiplies by a
weight knows of replicas; it splits the first axis of its input into them.

Legend: R replicas, B documents of each, D width, … any further axes.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.fast.fused import FusedRMSNorm, use_fused
from models.layers.input_injection import LoopEmbedding
from models.layers.norms import RMSNorm, Vector


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x [R·B, …, D] times weight [O, D] or [R, O, D]: [R·B, …, O]."""
    if weight.dim() == 2:
        return F.linear(x, weight)
    R, rows, D = weight.shape
    return torch.bmm(x.reshape(R, -1, D), weight.mT).view(*x.shape[:-1], rows)


def broadcast_replicas(vector: Tensor, x: Tensor) -> Tensor:
    """A vector [R, D] in a shape that broadcasts to x [R·B, …, D]."""
    rows = vector.repeat_interleave(len(x) // len(vector), 0)
    return rows.view(len(x), *[1] * (x.dim() - 2), -1)


class JointLinear(nn.Module):
    """weight [R, O, D], bias [R, O] or None."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        y = linear(x, self.weight)
        return y if self.bias is None else y + broadcast_replicas(self.bias, y)


class JointEmbedding(nn.Module):
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


class JointLoopEmbedding(nn.Module):
    """weight [R, loops, D]."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, loop: int, x: Tensor) -> Tensor:
        return broadcast_replicas(self.weight[:, loop - 1], x)


class JointVector(nn.Module):
    """weight [R, D]."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return broadcast_replicas(self.weight, x)


class JointRMSNorm(nn.Module):
    """weight [R, D]."""

    def __init__(self, weight: nn.Parameter, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = weight, eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        if use_fused(self, x):
            return FusedRMSNorm.apply(x, self.weight, self.eps)
        R, D = self.weight.shape
        normed = F.rms_norm(x, (D,), None, self.eps)
        return (normed.view(R, -1, D) * self.weight[:, None]).view_as(x)


def make_joint(model: nn.Module, weights: dict[str, nn.Parameter]) -> None:
    """Turns a model, in place, into R models computed in one pass.

    Args:
        weights: [R, …] for every name of `named_parameters`; a shared one is given once.

    Raises:
        ValueError: a module with weights that has no joint kind.
    """
    shared = {id(p): weights[name] for name, p in model.named_parameters()}

    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            new: nn.Module | None = None
            if isinstance(module, nn.Linear):
                bias = None if module.bias is None else shared[id(module.bias)]
                new = JointLinear(shared[id(module.weight)], bias)
            elif isinstance(module, LoopEmbedding):
                new = JointLoopEmbedding(shared[id(module.weight)])
            elif isinstance(module, Vector):
                new = JointVector(shared[id(module.weight)])
            elif isinstance(module, nn.Embedding):
                new = JointEmbedding(shared[id(module.weight)])
            elif isinstance(module, RMSNorm):
                new = JointRMSNorm(shared[id(module.weight)], cast(float, module.eps))
            if new is not None:
                setattr(parent, name, new)
    known = {id(weight) for weight in weights.values()}
    if alone := [name for name, p in model.named_parameters() if id(p) not in known]:
        raise ValueError(f"{', '.join(alone)} cannot be stacked: no module here computes them so")
