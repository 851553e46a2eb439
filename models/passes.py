"""A forward pass in progress, stepped loop by loop.

`LoopedTransformer.forward` runs all loops; decoding looks at the state in between, and goes on
with fewer documents once some have left.

Legend: B documents, T tokens, D width, H heads, S tokens that are seen.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from models.config import BlockCall
from models.outputs import Positions

if TYPE_CHECKING:
    from models.looped import LoopedTransformer

#: keys and values of this pass -> those that its queries see
Recall = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

#: (name of a hook point, state) -> the state to go on with
Hook = Callable[[str, Tensor], Tensor]


class Memory(Protocol):
    """What the attention of a pass sees, where that is not its own keys and values alone."""

    def attend(self, call: BlockCall, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, S, D/H] to attend to, given those of this call [B, H, T, D/H].

        The keys are rotated to their positions already.
        """


def no_hook(name: str, x: Tensor) -> Tensor:
    return x


class Pass:
    """One forward pass between two of its loops.

    Args:
        loops: how many will be run.
        table: cos and sin of the rotary angles.
        mask: bool, True where a query sees a key; None: plain causal attention.
        hook: called with the name and the state of every hook point, returns the state.
    """

    def __init__(
        self,
        model: "LoopedTransformer",
        tokens: Tensor,
        loops: int,
        table: tuple[Tensor, Tensor],
        mask: Tensor | None,
        hook: Hook = no_hook,
        memory: Memory | None = None,
    ) -> None:
        self.model, self.table, self.mask = model, table, mask
        self.hook, self.memory = hook, memory
        self.calls: dict[int, list[BlockCall]] = {}
        for call in model.config.schedule(loops):
            self.calls.setdefault(call.loop, []).append(call)
        self.x = hook("embed", model.embedding(tokens))
        for call in self.calls.get(0, ()):
            self.x = self._apply(call, self.x)

    def loop(self, number: int) -> Tensor:
        """Runs a loop (1 … loops, in order); the normed state [B, T, D] after it."""
        for call in self.calls[number]:
            self.x = self._apply(call, self.x)
        state = self.hook(f"state.loop.{number}", self.model.final_norm(self.x))
        if self.model.config.norm_between_loops:
            self.x = state
        return state

    def logits(self, state: Tensor, loop: int, at: Positions | None = None) -> Tensor:
        """Logits [B, T, V] of the state after a loop, or [M, V] at selected positions."""
        if len(self.model.coda):
            for i in range(len(self.model.coda)):
                state = self._apply(BlockCall("coda", i, loop), state)
            state = self.model.final_norm(state)
        return self.model.head(state if at is None else state[at])

    def narrow(self, rows: Tensor) -> None:
        """Goes on with the documents `rows` (int64[b] or bool[B]) alone."""
        if self.table[0].dim() == 4:  # angles of each document
            cos, sin = self.table
            self.table = (cos[rows], sin[rows])
        if self.mask is not None:
            self.mask = self.mask[rows]
        self.x = self.x[rows]

    def _apply(self, call: BlockCall, x: Tensor) -> Tensor:
        recall = None if self.memory is None else partial(self.memory.attend, call)
        block = getattr(self.model, call.part)[call.layer]
        return self.hook(call.name, block(x, self.table, self.mask, recall))
