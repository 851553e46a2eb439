"""Cross-entropy of the last loop only: fixed loops, as in k⊗n of 2502.17416."""

from typing import TYPE_CHECKING, Literal

from models.objectives.objective import Loss, PositionwiseObjective

if TYPE_CHECKING:
    from models.objectives.exit_losses import Predictions


class LastLoop(PositionwiseObjective):
    """CE of the last loop, in nats per predicted token. β is not used."""

    kind: Literal["last_loop"] = "last_loop"

    def per_position(self, predictions: "Predictions", beta: float | None) -> Loss:
        return Loss(predictions.last_loss())

    def mean_loss(self, predictions: "Predictions", beta: float | None) -> Loss:
        return Loss(predictions.last_loss("mean"))  # the mean in one operation

    def losses_computed(self, loops: int) -> int:
        return 1
