"""Stage II of Ouro (2510.25741 §3.4): the gate alone learns when another loop helped."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from models.objectives.objective import Loss, PositionwiseObjective

if TYPE_CHECKING:
    from torch import Tensor

    from models.outputs import LoopOutputs, Positions


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

    def each(
        self,
        outputs: "LoopOutputs",
        at: "Positions",
        targets: "Tensor",
        *,
        beta: float | None = None,
    ) -> Loss:
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        from models.exits import exit_log_probabilities
        from models.objectives.exit_losses import at_least_fp32, exit_log, loop_losses

        with torch.no_grad():
            losses = loop_losses(outputs, at, targets)
            gain = (losses[:-1] - losses[1:]).clamp(min=0)
            wanted = torch.sigmoid(self.sharpness * (gain - self.threshold))  # [n-1, M]
        fixed = [state.detach() for state in outputs.states]
        logits = at_least_fp32(outputs.read_exits(fixed, at))  # [n, M]
        each = binary_cross_entropy_with_logits(-logits[1:], wanted, reduction="none")
        total = each.sum(0) / outputs.n_loops
        return Loss(total, exit_log(exit_log_probabilities(logits).exp(), losses))
