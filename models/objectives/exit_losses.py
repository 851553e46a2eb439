"""What objectives over several exits share: per-loop losses, and what is logged of the exits.

Legend: n loops, M predicted positions.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from models.outputs import LoopOutputs, Positions


def at_least_fp32(x: "Tensor") -> "Tensor":
    """Half precision as fp32, anything else as it is."""
    import torch

    return x.to(torch.promote_types(x.dtype, torch.float32))


def loop_losses(outputs: "LoopOutputs", at: "Positions", targets: "Tensor") -> "Tensor":
    """Cross-entropy [n, M] of every loop in nats."""
    import torch
    from torch.nn.functional import cross_entropy

    return torch.stack(
        [
            cross_entropy(at_least_fp32(outputs.logits(t, at)), targets, reduction="none")
            for t in range(1, outputs.n_loops + 1)
        ]
    )


def exit_log(p: "Tensor", losses: "Tensor | None" = None) -> dict[str, "Tensor"]:
    """Of every position, [M]: entropy of its exit probabilities [n, M], mean exit, losses, exits.

    `exit_entropy` is in nats, at most log n; `mean_exit` counts loops from 1.
    """
    import torch

    with torch.no_grad():
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
