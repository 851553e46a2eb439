"""The weights of a looped transformer, and which of them compute what.

Legend: B documents, T tokens, D width.
"""

import torch
from torch import Tensor, nn

from models.counts import count_parameters
from models.fast.layers import FAST
from models.interface import LoopedModel
from models.layers.block import Block, Layers, branch_scales
from models.layers.initial_weights import draw_weights
from models.layers.input_injection import InputInjection
from models.shape import BlockCall, LoopedShape


class LoopedWeights(LoopedModel):
    """k core layers ⊗ n loops; one final norm, one head and one exit gate shared by all loops.

    Args:
        gate: the model has an exit gate.
        layers: the fast layers, or the plain ones (`Layers()`), which compute the same.
    """

    def __init__(
        self,
        shape: LoopedShape,
        vocabulary_size: int,
        *,
        gate: bool = False,
        seed: int = 0,
        layers: Layers = FAST,
    ) -> None:
        super().__init__()
        self.config: LoopedShape = shape  # pyrefly: ignore
        self.vocabulary_size = vocabulary_size
        D = shape.width
        self.embedding = nn.Embedding(vocabulary_size, D)
        self.prelude = nn.ModuleList(Block(shape, layers) for _ in range(shape.prelude))
        self.core = nn.ModuleList(Block(shape, layers, scale) for scale in branch_scales(shape))
        self.coda = nn.ModuleList(Block(shape, layers) for _ in range(shape.coda))
        self.final_norm = layers.norm(D, eps=shape.norm_eps)
        self.head = nn.Linear(D, vocabulary_size, bias=False)
        if shape.tied:
            self.head.weight = self.embedding.weight
        self.gate = nn.Linear(D, 1) if gate else None
        learned = shape.context if shape.positions == "learned" else None
        self.position = None if learned is None else nn.Embedding(learned, D)
        self.entrance = InputInjection(shape, layers.norm) if shape.injects else None
        rng = torch.Generator().manual_seed(seed)
        draw_weights(self, rng, zero_init=shape.zero_init)
        plain = set(self.parameters())
        self.extend(shape, layers)
        draw_weights(self, rng, zero_init=shape.zero_init, but=plain)

    def extend(self, shape: LoopedShape, layers: Layers) -> None:
        """Adds the parts of a variant.

        Their weights are drawn after all others, which so are those of the plain model.
        """

    def block(self, call: BlockCall) -> Block:
        """The block that computes a call; a variant may have another one in every loop."""
        return getattr(self, call.part)[call.layer]

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """[B, T, D]; positions as in `forward`."""
        x = self.embedding(tokens)
        if self.position is None:
            return x
        if (longest := int(positions.max()) + 1) > self.position.num_embeddings:
            raise ValueError(
                f"positions learned reach {longest}, but context is {self.config.context}"
            )
        return x + self.position(positions)

    def count_parameters(self) -> dict[str, int]:
        """Parameters by part, checked against the module's own tensors."""
        counts = count_parameters(self.config, self.vocabulary_size, gate=self.gate is not None)
        # the rows of <pad>
        unused = self.config.width * (1 if self.config.tied else 2)
        stored = sum(p.numel() for p in self.parameters())
        assert counts["total"] == stored - unused, (counts, stored)
        return counts
