"""What training and probes ask of a model: tokens in, `LoopOutputs` out.

Legend: B documents, T tokens, D width, M selected positions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models.exits import halted_state
from models.layers.block import Block
from models.outputs import LoopOutputs, Positions
from models.shape import ModelShape


class LoopedModel(nn.Module, ABC):
    """Any module with a state after every loop.

    Attributes:
        gate: states [..., D] -> exit logits [..., 1]; None: no early exits.
        halting: ε of adaptive computation time, which its objective sets: a loop's logits are
            then read from the states up to it, weighted by their halting.
    """

    config: ModelShape
    gate: nn.Module | None
    halting: float | None = None

    @abstractmethod
    def forward(
        self, tokens: Tensor, n_loops: int | None = None, *, read: Positions | None = None
    ) -> LoopOutputs:
        """States of every loop of int[B, T], right-padded.

        Args:
            n_loops: overrides `config.loops`, may exceed it.
            read: the only positions at which states and logits will be read; on the host, so
                that nothing waits for a GPU to learn how many there are.

        Raises:
            ValueError: a number of loops that the model cannot run.
        """

    @abstractmethod
    def count_parameters(self) -> dict[str, int]:
        """Parameters by part; `total` is their sum."""

    def hidden_matrices(self) -> dict[Tensor, int]:
        """Matrices inside the layers, for optimisers that treat these by themselves (Muon).

        Each with the number of equally large ones that lie below each other in it, such as 3
        for q, k and v computed at once. Here those of `Block`s; a model of other layers says
        which its own are.
        """
        blocks = [block for block in self.modules() if isinstance(block, Block)]
        return {matrix: parts for block in blocks for matrix, parts in block.matrices().items()}

    @property
    def read_exit(self) -> Callable[[Tensor], Tensor] | None:
        """States [..., D] -> gate logits [...]; None without a gate."""
        gate = self.gate
        return None if gate is None else lambda state: gate(state).squeeze(-1)

    def halted(self, states: Sequence[Tensor]) -> Tensor:
        """The states of the loops so far, weighted by their halting.

        Raises:
            ValueError: the model has no halting.
        """
        read_exit = self.read_exit
        if read_exit is None or self.halting is None:
            raise ValueError("halting weighs states by a gate, and this model has none")
        return halted_state(states, torch.stack([read_exit(s) for s in states]), self.halting)
