"""A model seen through other token ids."""

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from models.interface import LoopedModel
from models.looped import LoopedTransformer
from models.outputs import LoopOutputs, Positions


class OtherIds(LoopedModel):
    """Any model behind other token ids."""

    def __init__(self, model: LoopedModel, ids: Tensor) -> None:
        super().__init__()
        self.model, self.ids = model, ids
        self.config, self.gate, self.halting = model.config, model.gate, model.halting

    def forward(
        self, tokens: Tensor, n_loops: int | None = None, *, read: Positions | None = None
    ) -> LoopOutputs:
        """As that of the model."""
        outputs = self.model(self.ids[tokens], n_loops, read=read)

        def read_logits(state: Tensor, loop: int, at: Positions | None) -> Tensor:
            return outputs.read_logits(state, loop, at)[..., self.ids]

        return replace(outputs, read_logits=read_logits)

    def count_parameters(self) -> dict[str, int]:
        return self.model.count_parameters()


def in_ids(model: LoopedModel, ids: Tensor) -> LoopedModel:
    """The model, token i being what was token `ids[i]`, in inputs and logits.

    Of a looped transformer it is a copy with other rows in embedding and head, which can do all
    that the model can.

    Args:
        ids: int64[V], every id once; that of padding stays 0.

    Raises:
        ValueError: they are not.
    """
    if int(ids[0]) != 0 or not torch.equal(ids.sort().values.cpu(), torch.arange(len(ids))):
        raise ValueError(f"needed every id below {len(ids)} once, beginning with 0")
    if not isinstance(model, LoopedTransformer):
        return OtherIds(model, ids)
    copy = deepcopy(model)
    with torch.no_grad():
        for weight in {copy.embedding.weight, copy.head.weight}:  # one tensor where tied
            weight.copy_(weight[ids])
    return copy
