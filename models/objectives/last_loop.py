"""Cross-entropy of the last loop only: fixed loops, as in k⊗n of 2502.17416."""

from typing import TYPE_CHECKING, Literal

from models.objectives.objective import Loss, PositionwiseObjective

if TYPE_CHECKING:
    from torch import Tensor

    from models.outputs import LoopOutputs, Positions


class LastLoop(PositionwiseObjective):
    """CE of the last loop, in nats per predicted token. β is not used."""

    kind: Literal["last_loop"] = "last_loop"

    def each(
        self,
        outputs: "LoopOutputs",
        at: "Positions",
        targets: "Tensor",
        *,
        beta: float | None = None,
    ) -> Loss:
        from torch.nn.functional import cross_entropy

        from models.objectives.exit_losses import at_least_fp32

        logits = at_least_fp32(outputs.logits(at=at))
        return Loss(cross_entropy(logits, targets, reduction="none"))

    def loss(
        self,
        outputs: "LoopOutputs",
        at: "Positions",
        targets: "Tensor",
        *,
        beta: float | None = None,
    ) -> Loss:
        from torch.nn.functional import cross_entropy

        from models.objectives.exit_losses import at_least_fp32

        # the mean in one operation
        return Loss(cross_entropy(at_least_fp32(outputs.logits(at=at)), targets))

    def losses_computed(self, loops: int) -> int:
        return 1
