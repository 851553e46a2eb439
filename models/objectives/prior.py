"""Expected loss over exits with a prior on them: uniform, or PonderNet's (2107.05407 §2.3)."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from models.objectives.objective import Loss, PositionwiseObjective

if TYPE_CHECKING:
    from torch import Tensor

    from models.objectives.exit_losses import Predictions


class Prior(PositionwiseObjective):
    """Σ_t p(t)·CE_t + β·KL(p‖π) per predicted token; gradients reach model and gate.

    π is uniform, or geometric over the loops there are: π(t) = ρ(1-ρ)^(t-1) / (1-(1-ρ)^n), which
    starves late loops (2510.25741, App. A). A uniform π is `entropy` plus the constant β·log n.
    """

    uses_gate: ClassVar[bool] = True

    kind: Literal["prior"] = "prior"
    beta: float = Field(0.1, ge=0, description="weight of the divergence from the prior")
    prior: Literal["uniform", "geometric"] = Field(
        "uniform", description="the distribution over exits that the gate is drawn to"
    )
    rho: float = Field(0.5, gt=0, lt=1, description="of the geometric prior: chance to exit")

    def log_prior(self, loops: int) -> "Tensor":
        """log π(t), float64[n]."""
        import torch

        rate = self.rho if self.prior == "geometric" else 0.0
        steps = torch.arange(loops, dtype=torch.float64)
        return torch.log_softmax(steps * torch.log1p(torch.tensor(-rate, dtype=steps.dtype)), 0)

    def per_position(self, predictions: "Predictions", beta: float | None) -> Loss:
        from models.objectives.exit_losses import exit_log

        beta = self.beta if beta is None else beta
        log_p, losses = predictions.exit_log_probabilities(), predictions.losses()  # [n, M]
        p, log_prior = log_p.exp(), self.log_prior(len(log_p)).to(log_p)
        divergence = (p * (log_p - log_prior[:, None])).sum(0)
        total = (p * losses).sum(0) + beta * divergence
        return Loss(total, exit_log(p, losses) | {"prior_kl": divergence.detach()})
