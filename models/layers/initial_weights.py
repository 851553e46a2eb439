"""The weights with which training begins."""

from collections.abc import Collection
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from models.layers.block import Block

#: standard deviation of embedding and head at the start, as in GPT-2: logits begin near uniform
OUTER_STD = 0.02
#: what begins with it
OUTER = (
    "embedding.weight",
    "head.weight",
    "position.weight",
    "entrance.loops.weight",
    "memory.weight",
)


@runtime_checkable
class OwnStart(Protocol):
    """A module some of whose weights begin otherwise than others of their shape."""

    def start_weights(self) -> None:
        """Sets them, whatever they were."""


def draw_weights(
    model: nn.Module,
    rng: torch.Generator,
    *,
    zero_init: bool,
    but: Collection[nn.Parameter] = (),
) -> None:
    """Normal: embeddings and head 0.02, other matrices 1/√fan-in. Norms one, gate zero.

    What has an `OwnStart` begins as it says itself, a block with DeepNorm smaller.

    A gate at zero starts with λ = ½ in every loop. Drawn on the CPU, so that a seed gives the
    same weights on every device.

    Args:
        rng: on the CPU.
        zero_init: every block starts as the identity.
        but: parameters that stay as they are.
    """
    for name, parameter in model.named_parameters():
        if parameter in but:
            continue
        if name.startswith("gate."):
            nn.init.zeros_(parameter)
        elif parameter.dim() == 2:
            std = OUTER_STD if name in OUTER else parameter.shape[1] ** -0.5
            nn.init.normal_(parameter, std=std, generator=rng)
    for module in model.modules():
        if isinstance(module, OwnStart):  # pyrefly: ignore
            module.start_weights()
    for block in model.modules():
        if isinstance(block, Block):
            if block.attention.out.weight not in but:
                block.start_small()
            if zero_init:
                block.start_as_identity()
