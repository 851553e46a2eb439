"""A forward pass in progress, stepped loop by loop.

`LoopedTransformer.forward` runs all loops; decoding looks at the state in between, and goes on
with fewer documents once some have left.

Legend: B documents, T tokens, D width, H heads, S tokens that are seen.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from models.config import BlockCall
from models.fast.sparse_queries import Reading, send
from models.layers.mlp import Routing, imbalance
from models.outputs import Positions
from models.positions import table_of

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
        positions: int[T] or int[B, T], where each token stands.
        mask: bool, True where a query sees a key; None: plain causal attention.
        hook: called with the name and the state of every hook point, returns the state.
        read: the only positions at which anything is read; None: all. Without a coda the states
            are then those of these positions, [M, D].
    """

    def __init__(
        self,
        model: "LoopedTransformer",
        tokens: Tensor,
        loops: int,
        positions: Tensor,
        mask: Tensor | None,
        hook: Hook = no_hook,
        memory: Memory | None = None,
        read: Positions | None = None,
    ) -> None:
        self.model, self.table, self.mask = model, table_of(model.config, positions), mask
        self.hook, self.memory = hook, memory
        self.routings: list[Routing] = []
        #: of the loops so far, where halting weighs them
        self.states: list[Tensor] = []
        self.counted = tokens != 0
        self.calls: dict[int, list[BlockCall]] = {}
        for call in model.config.schedule(loops):
            self.calls.setdefault(call.loop, []).append(call)
        self.last_call = call
        self.read = read
        #: `read` on the device of the model, as the index that it is
        self.selected = None if read is None else self._sent(read)
        self.reading = None if read is None else self._reading(read, *tokens.shape)
        self.x = hook("embed", model.embed(tokens, positions))
        for call in self.calls.get(0, ()):
            self.x = self._apply(call, self.x, self.routings)
        self.e: Tensor | None = None
        if model.entrance is not None:
            self.x, self.e = model.entrance.begin(self.x)

    def loop(self, number: int, *, recompute: bool = False) -> Tensor:
        """Runs a loop (1 … loops, in order); the normed state [B, T, D] after it.

        Args:
            recompute: keep no activations within the loop for the backward pass. The last loop
                keeps them: the backward pass begins with it, so the peak is the same.
        """
        if recompute and torch.is_grad_enabled() and number < max(self.calls):
            self.x, routings = checkpoint(
                self._core, number, self.x, self.e, use_reentrant=False, preserve_rng_state=False
            )
        else:
            self.x, routings = self._core(number, self.x, self.e)
        self.routings += routings
        if self.reading is not None and self._is_last(self.calls[number][-1]):
            return self._remember(self.model.final_norm(self.reading.select(self.x)))
        state = self.hook(f"state.loop.{number}", self.model.final_norm(self.x))
        if self.model.config.norm_between_loops:
            self.x = state
        return self._remember(state if self.state_positions is None else state[self.selected])

    def _remember(self, state: Tensor) -> Tensor:
        if self.model.halting is not None:
            self.states.append(state)
        return state

    @property
    def state_positions(self) -> Positions | None:
        """Where the states are; None: at all tokens, as a coda needs for its keys and values."""
        return None if len(self.model.coda) else self.read

    def _reading(self, read: Positions, B: int, T: int) -> Reading | None:
        """None where hooks, another memory or the balance of experts ask for all tokens."""
        everything = self.hook is not no_hook or self.memory is not None
        if everything or self.model.config.mlp == "moe":
            return None
        return Reading.of(read, B, T, self.table, self.mask, self.counted.device)

    def _sent(self, at: Positions) -> Positions:
        row, column = (send(x, self.counted.device) for x in at)
        return row, column

    def _is_last(self, call: BlockCall) -> bool:
        """Whether nothing but the head reads what this call gives."""
        last = len(self.model.coda) - 1
        return call.layer == last if call.part == "coda" else last < 0 and call == self.last_call

    def _core(self, number: int, x: Tensor, e: Tensor | None) -> tuple[Tensor, list[Routing]]:
        routings: list[Routing] = []
        if self.model.entrance is not None:
            x = self.model.entrance(x, e, number)
        for call in self.calls[number]:
            x = self._apply(call, x, routings)
        return x, routings

    def logits(self, state: Tensor, loop: int, at: Positions | None = None) -> Tensor:
        """Logits [B, T, V] of the state after a loop, or [M, V] at selected positions.

        A model with halting reads its states up to that loop.
        """
        if self.model.halting is not None:
            state = self.model.halted(self.states[:loop])
        if len(self.model.coda):
            sparse = at is not None and at is self.read
            for i in range(len(self.model.coda)):
                state = self._apply(BlockCall("coda", i, loop), state, self.routings, sparse)
            if sparse and self.reading is not None:
                state, at = self.reading.select(state), None
            state = self.model.final_norm(state)
        if at is not None:
            state = state[self.selected if at is self.read else at]
        return self.model.head(state)

    def narrow(self, rows: Tensor) -> None:
        """Goes on with the documents `rows` (int64[b] or bool[B]) alone."""
        if self.table is not None and self.table[0].dim() == 4:  # angles of each document
            cos, sin = self.table
            self.table = (cos[rows], sin[rows])
        if self.mask is not None:
            self.mask = self.mask[rows]
        if self.e is not None:
            self.e = self.e[rows]
        self.x = self.x[rows]
        self.states = [state[rows] for state in self.states]

    def imbalance(self) -> Tensor | None:
        """How unevenly the experts were used, mean over all block calls; None without experts.

        1 where they were used alike; padding is not counted.
        """
        if not self.routings:
            return None
        return torch.stack([imbalance(r, self.counted) for r in self.routings]).mean()

    def _apply(
        self, call: BlockCall, x: Tensor, routings: list[Routing], sparse: bool = True
    ) -> Tensor:
        """The state after a call; [B, Q, D] after one that only the head reads, if `sparse`."""
        recall = None if self.memory is None else partial(self.memory.attend, call)
        block = getattr(self.model, call.part)[call.layer]
        if sparse and self.reading is not None and self._is_last(call):
            return block.at(self.reading, x, self.table)
        return self.hook(call.name, block(x, self.table, self.mask, recall, routings.append))
