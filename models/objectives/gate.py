"""Stage II of Ouro (2510.25741 §3.4): the gate alone learns when another loop helped."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from models.objectives.objective import Loss, PositionwiseObjective

if TYPE_CHECKING:
    from models.objectives.exit_losses import Predictions


class Gate(PositionwiseObjective):
    """(1/n)·Σ_{t=2..n} BCE(1-λ_t, w_t), w_t = sigmoid(k·(I_t - γ)), mean over predicted tokens.

    I_t = max(0, CE_{t-1} - CE_t) is what loop t has just gained; it is held fixed, and so is the
    model. A gain of 0 asks for w = 0.438, not 0.
    """

    uses_gate: ClassVar[bool] = True
    trains_gate_alone: ClassVar[bool] = True

    kind: Literal["gate"] = "gate"
    sharpness: float = Field(50.0, gt=0, description="k")
    threshold: float = Field(0.005, description="γ: gain in nats from which on it was worth it")

    def per_position(self, predictions: "Predictions", beta: float | None) -> Loss:
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        from models.exits import exit_log_probabilities
        from models.objectives.exit_losses import exit_log

        with torch.no_grad():
            losses = predictions.losses()
            gain = (losses[:-1] - losses[1:]).clamp(min=0)
            wanted = torch.sigmoid(self.sharpness * (gain - self.threshold))  # [n-1, M]
        logits = predictions.exit_logits(fixed_states=True)  # [n, M]
        errors = binary_cross_entropy_with_logits(-logits[1:], wanted, reduction="none")
        p = exit_log_probabilities(logits).exp()
        return Loss(errors.sum(0) / len(logits), exit_log(p, losses))
