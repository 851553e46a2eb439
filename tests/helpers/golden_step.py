"""One training step in numbers that can be written down."""

import torch
from reference_transformer import V, tokens
from torch.nn.functional import cross_entropy

from models.model import ModelConfig, built

#: how far a number that was written down may lie from one of another torch or processor
TOLERANCE = 2e-4


def golden_step(config: ModelConfig) -> tuple[float, float]:
    """Loss of the next token in nats before and after one step of AdamW at 1e-2, in fp32."""
    model = built(config, V, gate=False, seed=0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batch, losses = tokens(4, 9), []
    for _ in range(2):
        torch.manual_seed(0)  # for a model that draws noise
        logits = model(batch[:, :-1]).logits()
        loss = cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return losses[0], losses[1]
