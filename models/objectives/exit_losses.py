"""What objectives read of a pass: the loss of every loop, and the gate, where tokens are predicted.

Legend: n loops, M predicted positions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.exits import exit_log_probabilities, halting
from models.outputs import LoopOutputs, Positions


@dataclass(frozen=True)
class Predictions:
    """The predicted positions of a pass. Everything is computed in fp32 at least.

    Attributes:
        at: (row, column) of the positions that predict, each int64[M].
        targets: int64[M], the tokens that follow them.
    """

    outputs: LoopOutputs
    at: Positions
    targets: Tensor

    def last_loss(self, reduction: str = "none") -> Tensor:
        """Cross-entropy of the last loop in nats, [M] or reduced."""
        return self._loss(None, reduction)

    def losses(self) -> Tensor:
        """Cross-entropy [n, M] of every loop in nats."""
        return torch.stack([self._loss(t, "none") for t in range(1, self.outputs.n_loops + 1)])

    def exit_logits(self, *, fixed_states: bool = False) -> Tensor:
        """Gate logits [n, M]; with fixed states only the gate itself gets gradients."""
        states = self.outputs.states
        if fixed_states:
            states = [state.detach() for state in states]
        return at_least_fp32(self.outputs.read_exits(states, self.at))

    def exit_log_probabilities(self) -> Tensor:
        """log p(t) [n, M] of the exit distribution."""
        return exit_log_probabilities(self.exit_logits())

    def halting(self, epsilon: float) -> tuple[Tensor, Tensor]:
        """Halting weights [n, M] and ponder times [M]."""
        return halting(self.exit_logits(), epsilon)

    def _loss(self, loop: int | None, reduction: str) -> Tensor:
        logits = at_least_fp32(self.outputs.logits(loop, self.at))
        return cross_entropy(logits, self.targets, reduction=reduction)


def at_least_fp32(x: Tensor) -> Tensor:
    """Half precision as fp32, anything else as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@torch.no_grad()
def exit_log(p: Tensor, losses: Tensor | None = None) -> dict[str, Tensor]:
    """What is logged of exit probabilities [n, M], for every position: each value is [M].

    `exit_entropy` is in nats, at most log n; `mean_exit` counts loops from 1.
    """
    loops = torch.arange(1, len(p) + 1, device=p.device, dtype=p.dtype)
    logged = {
        "exit_entropy": torch.special.entr(p).sum(0),
        "mean_exit": (loops[:, None] * p).sum(0),
    }
    for t in range(len(p)):
        if losses is not None:
            logged[f"loss.{t + 1}"] = losses[t]
        logged[f"exit.{t + 1}"] = p[t]
    return {name: value.detach() for name, value in logged.items()}
