"""The optimiser of a run in groups, and the learning rate of every step."""

from collections.abc import Sequence
from math import cos, pi, sqrt
from typing import TYPE_CHECKING, Any

from experiments.config.phases import Span, Training
from experiments.errors import LoopscopeError

if TYPE_CHECKING:
    import torch

    from models.interface import LoopedModel


def set_learning_rates(
    groups: Sequence[dict[str, Any]], span: Span, training: Training, step: int
) -> None:
    """Gives every group its rate of a step; Muon's matrices have `muon_lr` in place of `lr`."""
    rate = learning_rate(span, training, step)
    for group in groups:
        group["lr"] = rate * (training.muon_lr / training.lr) if "parts" in group else rate


def learning_rate(span: Span, training: Training, step: int) -> float:
    """AdamW's learning rate in optimiser step `step` (counted from 0 over the whole run).

    Linear warm-up that reaches the peak at its last step, then from the peak towards
    `final` · peak over what is left of the phase. `sqrt` is peak · (1 - √progress), never below
    that floor; `wsd` (warm-up, stable, decay; 2404.06395 §4) stays at the peak and falls linearly
    in the last `decay_share` of what is left.
    """
    phase = span.phase
    peak = training.lr if phase.lr is None else phase.lr
    done, length = step - span.first_step, span.last_step - span.first_step
    if done < phase.warmup:
        return peak * (done + 1) / phase.warmup
    progress = (done - phase.warmup) / max(length - phase.warmup, 1)
    final = phase.final
    match phase.decay:
        case "linear":
            share = 1 - (1 - final) * progress
        case "cosine":
            share = final + (1 - final) * (1 + cos(pi * progress)) / 2
        case "sqrt":
            share = max(final, 1 - sqrt(progress))
        case "wsd":
            decayed = max(0.0, 1 - (1 - progress) / phase.decay_share)
            share = 1 - (1 - final) * decayed
        case "constant":
            share = 1.0
    return peak * share


def parameter_groups(model: "LoopedModel", training: Training) -> list[dict[str, Any]]:
    """Matrices (embedding included) with weight decay, vectors without.

    With Muon the matrices inside the layers are groups by themselves, one for each number of
    `parts` that lie below each other in a tensor. Every trainable parameter is in exactly one
    group; a shared one is counted once.

    Raises:
        LoopscopeError: Muon, and the model does not say which matrices are inside its layers.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    hidden = model.hidden_matrices() if training.optimiser == "muon" else {}
    if training.optimiser == "muon" and not hidden:
        raise LoopscopeError(
            f"training.optimiser muon: model {model.config.kind} has no linear map in its layers "
            "and does not name their matrices; return them from its method `hidden_matrices`, or "
            "take adamw"
        )
    decay = training.weight_decay
    matrices = [p for p in trainable if p.dim() >= 2 and p not in hidden]
    vectors = [p for p in trainable if p.dim() < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    for parts in sorted({*hidden.values()}):
        some = [p for p in trainable if hidden.get(p) == parts]
        muon = {"parts": parts, "momentum": training.muon_momentum}
        groups.append({"params": some, "weight_decay": decay, **muon})
    grouped = [id(p) for group in groups for p in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(trainable)
    return [group for group in groups if group["params"]]


def build_optimiser(model: "LoopedModel", training: Training) -> "torch.optim.AdamW":
    """The run's optimiser; `fused` is four times as fast as the default on a CPU."""
    import torch

    from experiments.training.muon import Muon

    kind = Muon if training.optimiser == "muon" else torch.optim.AdamW
    return kind(
        parameter_groups(model, training),
        lr=training.lr,
        betas=training.betas,
        eps=training.eps,
        fused=True,
    )
