"""Averages of the weights over the steps, which are measured in place of the last weights."""

import torch

from models.interface import LoopedModel


@torch.no_grad()
def average_weights(average: LoopedModel, model: LoopedModel, decay: float, step: int) -> None:
    """Brings the averages of all steps before this one up to date with the weights after it.

    They are Σ_s decay^(step-s)·θ_s / Σ_s decay^(step-s) over s = 1 … step: an exponential moving
    average without the bias towards where it begins, as Adam corrects its moments (1412.6980 §3).
    """
    share = (1 - decay) / (1 - decay**step)
    for mine, theirs in zip(average.parameters(), model.parameters(), strict=True):
        mine.lerp_(theirs, share)
    for mine, theirs in zip(average.buffers(), model.buffers(), strict=True):
        mine.copy_(theirs)
