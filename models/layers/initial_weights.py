"""The weights with which training begins."""

import torch
from torch import nn

from models.layers.block import Block
from models.layers.input_injection import InputInjection

#: standard deviation of embedding and head at the start, as in GPT-2: logits begin near uniform
OUTER_STD = 0.02
#: what begins with it
OUTER = ("embedding.weight", "head.weight", "position.weight", "entrance.loops.weight")


def draw_weights(model: nn.Module, seed: int, *, zero_init: bool) -> None:
    """Normal: embeddings and head 0.02, other matrices 1/√fan-in. Norms one, gate zero.

    What injects the loop's input starts as it says itself.

    A gate at zero starts with λ = ½ in every loop. Drawn on the CPU, so that a seed gives the
    same weights on every device.

    Args:
        zero_init: every block starts as the identity.
    """
    rng = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.startswith("gate."):
            nn.init.zeros_(parameter)
        elif parameter.dim() == 2:
            std = OUTER_STD if name in OUTER else parameter.shape[1] ** -0.5
            nn.init.normal_(parameter, std=std, generator=rng)
    for module in model.modules():
        if isinstance(module, InputInjection):
            module.start_weights()
    if zero_init:
        for block in model.modules():
            if isinstance(block, Block):
                block.start_as_identity()
