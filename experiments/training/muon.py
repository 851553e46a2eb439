"""Muon: matrices move by their momentum made orthogonal, everything else by AdamW.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon, as `torch.optim.Muon` has it in its
`original` form. That one takes single matrices in half precision; here matrices that lie below
each other in one tensor, and those of runs trained together, are orthogonalised apart in one
product, in the precision of the weights.

Legend: N matrices, each [A, B].
"""

from collections.abc import Callable, Iterable
from math import sqrt
from typing import Any, overload

import torch
from torch import Tensor

from experiments.config.costs import NEWTON_SCHULZ_STEPS, orthogonalising_flops

#: coefficients of the quintic x ← a·x + b·x³ + c·x⁵ that singular values pass through
QUINTIC = (3.4445, -4.7750, 2.0315)
#: smallest Frobenius norm that is divided by
EPS = 1e-7


def orthogonalised(matrices: Tensor) -> Tensor:
    """[N, A, B] with the singular vectors of each matrix, its singular values brought near 1.

    Each is divided by its Frobenius norm and then passes through the quintic five times, which
    leads values of a hundredth and more to between 0.68 and 1.14.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=EPS)
    a, b, c = QUINTIC
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.AdamW):
    """AdamW but for groups with `parts`, the number of matrices below each other in each tensor.

    Such a group needs `momentum` as well; its tensors are [..., parts·A, B]. A step is

        m ← μ·m + (1 - μ)·g,   θ ← (1 - η·decay)·θ - η·√max(1, A/B)·orthogonalised((1 - μ)·g + μ·m)

    with η its learning rate (Nesterov's momentum).
    """

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        every = self.param_groups
        for group in every:
            if "parts" in group:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._move(parameter, parameter.grad, group)
        self.param_groups = [group for group in every if "parts" not in group]
        try:
            return super().step(closure)
        finally:
            self.param_groups = every

    def _move(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(fresh_state(parameter, group))
        state["step"] += 1
        keep, rate = group["momentum"], group["lr"]
        momentum = state["momentum"].lerp_(grad, 1 - keep)
        matrices = grad.lerp(momentum, keep).unflatten(-2, (group["parts"], -1))
        A, B = matrices.shape[-2:]
        moved = orthogonalised(matrices.reshape(-1, A, B)).reshape(parameter.shape)
        parameter.mul_(1 - rate * group["weight_decay"])
        parameter.add_(moved, alpha=-rate * sqrt(max(1, A / B)))


def products_of(groups: Iterable[dict[str, Any]]) -> int:
    """FLOPs of the matrix products of one step of an optimiser; none without Muon."""
    total = 0
    for group in groups:
        if "parts" in group:
            for parameter in group["params"]:
                size = (parameter.shape[-2] // group["parts"], parameter.shape[-1])
                total += orthogonalising_flops({size: group["parts"]})
    return total


def fresh_state(parameter: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
    """The state with which a parameter of a group begins, in a fused AdamW or Muon."""
    moments = ("momentum",) if "parts" in group else ("exp_avg", "exp_avg_sq")
    return {
        "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
        **{name: torch.zeros_like(parameter) for name in moments},
    }
