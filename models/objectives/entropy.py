"""Stage I of Ouro (2510.25741 eq. 4): expected loss over exits, with an entropy bonus."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from models.objectives.objective import Loss, Objective

if TYPE_CHECKING:
    from torch import Tensor

    from models.outputs import LoopOutputs, Positions


class Entropy(Objective):
    """Σ_t p(t)·CE_t - β·H(p) per predicted token; gradients reach model and gate.

    Equal, up to the constant β·log n, to a KL penalty towards the uniform exit prior. Ouro used
    β = 0.1, then 0.05.
    """

    uses_gate: ClassVar[bool] = True

    kind: Literal["entropy"] = "entropy"
    beta: float = Field(0.1, ge=0, description="weight of the exit entropy")

    def loss(
        self,
        outputs: "LoopOutputs",
        at: "Positions",
        targets: "Tensor",
        *,
        beta: float | None = None,
    ) -> Loss:
        import torch
        from torch.nn.functional import cross_entropy

        from models.exits import exit_log_probabilities

        beta = self.beta if beta is None else beta
        log_p = exit_log_probabilities(outputs.exit_logits(at).float())  # [n, M]
        losses = torch.stack(
            [
                cross_entropy(outputs.logits(t, at).float(), targets, reduction="none")
                for t in range(1, outputs.n_loops + 1)
            ]
        )  # [n, M]
        p = log_p.exp()
        entropy = -(p * log_p).sum(0)
        total = ((p * losses).sum(0) - beta * entropy).mean()
        with torch.no_grad():
            logged = {"exit_entropy": entropy.mean()}
            for t in range(outputs.n_loops):
                logged[f"loss.{t + 1}"] = losses[t].mean()
                logged[f"exit.{t + 1}"] = p[t].mean()
        return Loss(total, {k: v.detach() for k, v in logged.items()})
