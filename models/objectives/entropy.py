"""Stage I of Ouro (2510.25741 eq. 4): expected loss over exits, with an entropy bonus."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from models.objectives.objective import Loss, PositionwiseObjective

if TYPE_CHECKING:
    from models.objectives.exit_losses import Predictions


class Entropy(PositionwiseObjective):
    """Σ_t p(t)·CE_t - β·H(p) per predicted token; gradients reach model and gate.

    Equal, up to the constant β·log n, to a KL penalty towards the uniform exit prior. Ouro used
    β = 0.1, then 0.05.
    """

    uses_gate: ClassVar[bool] = True

    kind: Literal["entropy"] = "entropy"
    beta: float = Field(0.1, ge=0, description="weight of the exit entropy")

    def per_position(self, predictions: "Predictions", beta: float | None) -> Loss:
        from models.objectives.exit_losses import exit_log

        beta = self.beta if beta is None else beta
        log_p, losses = predictions.exit_log_probabilities(), predictions.losses()  # [n, M]
        p = log_p.exp()
        entropy = -(p * log_p).sum(0)
        return Loss((p * losses).sum(0) - beta * entropy, exit_log(p, losses))
