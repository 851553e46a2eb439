"""Adaptive computation time (Graves, 1603.08983), as the Universal Transformer uses it."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from models.objectives.objective import Loss, PositionwiseObjective

if TYPE_CHECKING:
    from models.objectives.exit_losses import Predictions


class ACT(PositionwiseObjective):
    """CE of the halting-weighted state + τ·(N + R) per predicted token.

    The gate's λ_t add up until they reach 1 - ε, in loop N at the latest; the remainder R is the
    weight of loop N (1807.03819 §2.2). All tokens run all loops in training. The model answers
    from the weighted state, in probes too: logits of loop t are those of halting by then.
    """

    uses_gate: ClassVar[bool] = True

    kind: Literal["act"] = "act"
    epsilon: float = Field(0.01, gt=0, lt=1, description="halt once 1 - ε is reached")
    tau: float = Field(0.01, ge=0, description="price of a loop")

    @property
    def halting(self) -> float:
        return self.epsilon

    def per_position(self, predictions: "Predictions", beta: float | None) -> Loss:
        from models.objectives.exit_losses import exit_log

        weights, ponder = predictions.halting(self.epsilon)
        losses = predictions.last_loss()  # the model weighs its states itself
        return Loss(losses + self.tau * ponder, exit_log(weights) | {"ponder": ponder.detach()})

    def losses_computed(self, loops: int) -> int:
        return 1
