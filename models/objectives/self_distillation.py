"""Loop self-distillation (ELT, 2604.09168): earlier loops learn to say what the last one says."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.objectives.objective import Loss, PositionwiseObjective

if TYPE_CHECKING:
    from models.objectives.exit_losses import Predictions


class SelfDistillation(PositionwiseObjective):
    """CE_n + w·(1/(n-1))·Σ_{t<n} KL(p_n ‖ p_t) per predicted token, p_n held fixed.

    With one loop there is nothing to distil, and it is `last_loop`.
    """

    kind: Literal["self_distillation"] = "self_distillation"
    weight: float = Field(0.1, ge=0, description="of the divergence from the last loop")

    def per_position(self, predictions: "Predictions", beta: float | None) -> Loss:
        import torch

        from models.objectives.exit_losses import at_least_fp32

        outputs, at = predictions.outputs, predictions.at
        log_p = [
            at_least_fp32(outputs.logits(t, at)).log_softmax(-1)
            for t in range(1, outputs.n_loops + 1)
        ]
        losses = -log_p[-1].gather(-1, predictions.targets[:, None])[:, 0]
        last = log_p[-1].detach()
        apart = [(last.exp() * (last - earlier)).sum(-1) for earlier in log_p[:-1]]
        divergence = torch.stack(apart).mean(0) if apart else torch.zeros_like(losses)
        return Loss(losses + self.weight * divergence, {"divergence": divergence.detach()})
