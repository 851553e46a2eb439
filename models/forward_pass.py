"""One forward pass of a looped transformer, in the order in which it is computed.

Legend: B documents, T tokens, D width, H heads, S tokens that are seen, V vocabulary, n loops,
M selected positions.
"""

from functools import partial
from itertools import groupby

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from models.fast.sparse_queries import SparseQueries, to_device_async
from models.hooks import Hook, KeyValueSource, no_hook
from models.layers.mlp import Routing
from models.outputs import Positions
from models.positions import angles_at
from models.shape import BlockCall
from models.weights import LoopedWeights


class Pass:
    """One forward pass, stepped loop by loop.

    Args:
        loops: the largest loop that will be run.
        positions: int[T] or int[B, T], where each token stands.
        mask: bool, broadcastable to [B, H, T, S]: True where a query sees a key; None: causal.
        hook: called with the name and the state of every hook point, returns the state.
        key_values: decides what keys and values are seen; None: those of this pass.
        read: the only positions at which anything is read; None: all. Without a coda the states
            are then those of these positions, [M, D].
    """

    def __init__(
        self,
        model: LoopedWeights,
        tokens: Tensor,
        loops: int,
        positions: Tensor,
        mask: Tensor | None = None,
        hook: Hook = no_hook,
        key_values: KeyValueSource | None = None,
        read: Positions | None = None,
    ) -> None:
        shape, device, (B, T) = model.config, tokens.device, tokens.shape
        shape.check_loops(loops)
        self.model, self.mask, self.hook, self.key_values = model, mask, hook, key_values
        self.angles = angles_at(shape, positions)
        self.counted = tokens != 0
        self.routings: list[Routing] = []
        #: states of the loops so far, where halting weighs them
        self.states: list[Tensor] = []
        schedule = groupby(shape.schedule(loops), lambda call: call.loop)
        #: loop -> its block calls; 0 -> the prelude
        self.calls = {t: list(calls) for t, calls in schedule}
        self.read = read
        #: a coda needs the states of all tokens for its keys and values
        self.state_positions = None if len(model.coda) else read
        #: `read` on the device of the model, as an index
        self.selected: Positions | None = None
        #: None where all positions are read, or hooks, caches or the balance of experts need all
        self.sparse: SparseQueries | None = None
        if read is not None:
            self.selected = (to_device_async(read[0], device), to_device_async(read[1], device))
            if hook is no_hook and key_values is None and shape.mlp != "moe":
                self.sparse = SparseQueries.of(read, B, T, self.angles, mask, device)

        self.x = hook("embed", self.embed(tokens, positions))
        for call in self.calls.get(0, ()):
            self.x = self._apply(call, self.x, self.routings)
        #: what joins the state before every loop
        self.e: Tensor | None = None
        if model.entrance is not None:
            self.x, self.e = model.entrance.begin(self.x)
        self.x = self.begin(self.x)

    # --- steps of a pass, any of which a variant may take otherwise

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """States [B, T, D] before the first block."""
        return self.model.embed(tokens, positions)

    def begin(self, x: Tensor) -> Tensor:
        """What the first loop begins with, [B, T, …], from the state [B, T, D] before it."""
        return x

    def enter(self, number: int, x: Tensor) -> Tensor:
        """The state [B, T, D] that the blocks of a loop read, from what it begins with."""
        entrance = self.model.entrance
        return x if entrance is None else entrance(x, self.e, number)

    def core(
        self, number: int, x: Tensor, queries: SparseQueries | None
    ) -> tuple[Tensor, list[Routing]]:
        """What the next loop begins with, from what this one begins with.

        Args:
            queries: all that its last block computes, as [B, Q, …]; None: everything.
        """
        routings: list[Routing] = []
        x = self.enter(number, x)
        *calls, last = self.calls[number]
        for call in calls:
            x = self._apply(call, x, routings)
        return self._apply(last, x, routings, queries), routings

    def readout(self, x: Tensor) -> Tensor:
        """The state [B, T, D], before the final norm, of what a loop leaves behind."""
        return x

    # --- the pass

    def loop(self, number: int, *, recompute: bool = False) -> Tensor:
        """Runs a loop (1 … loops, in order); the normed state [B, T, D] after it.

        Args:
            recompute: keep no activations within the loop for the backward pass. The last loop
                keeps them: the backward pass begins with it, so the peak is the same.
        """
        queries = self._queries(number)
        if recompute and torch.is_grad_enabled() and number < max(self.calls):
            self.x, routings = checkpoint(
                self.core, number, self.x, None, use_reentrant=False, preserve_rng_state=False
            )
        else:
            self.x, routings = self.core(number, self.x, queries)
        self.routings += routings
        if queries is not None:
            state = self.model.final_norm(queries.select(self.readout(self.x)))
        else:
            normed = self.model.final_norm(self.readout(self.x))
            state = self.hook(f"state.loop.{number}", normed)
            if self.model.config.norm_between_loops:
                self.x = state
            if self.state_positions is not None:
                state = state[self.selected]
        if self.model.halting is not None:
            self.states.append(state)
        return state

    def again(self, number: int, x: Tensor) -> Tensor:
        """What a loop makes of x, once the pass has run; beyond its loops too.

        Nothing of the pass changes, and no hook is called.

        Raises:
            ValueError: a loop that the model has no weights for.
        """
        if number not in self.calls:
            self.model.config.check_loops(number)
            self.calls[number] = [call._replace(loop=number) for call in self.calls[1]]
        hook, self.hook = self.hook, no_hook
        try:
            left, _ = self.core(number, x, None)
        finally:
            self.hook = hook
        norm = self.model.config.norm_between_loops
        return self.model.final_norm(self.readout(left)) if norm else left

    def normed(self, left: Tensor) -> Tensor:
        """The normed state [B, T, D] of what a loop left behind."""
        norm = self.model.config.norm_between_loops
        return left if norm else self.model.final_norm(self.readout(left))

    def _queries(self, loop: int) -> SparseQueries | None:
        """What the last block of a loop computes if only the head reads it; None: everything."""
        return None if len(self.model.coda) or loop < max(self.calls) else self.sparse

    def _apply(
        self,
        call: BlockCall,
        x: Tensor,
        routings: list[Routing],
        queries: SparseQueries | None = None,
    ) -> Tensor:
        """The state after a block, [B, T, D], or [B, Q, D] at the queries."""
        block = self.model.block(call)
        if queries is not None:
            return queries.forward_at(block, x, self.angles)
        seen = None if self.key_values is None else partial(self.key_values.attend, call)
        return self.hook(call.name, block(x, self.angles, self.mask, seen, routings.append))

    def logits(self, state: Tensor, loop: int, at: Positions | None = None) -> Tensor:
        """Logits [B, T, V] of the state after a loop, or [M, V] at selected positions.

        A model with halting reads its states up to that loop.
        """
        if self.model.halting is not None:
            state = self.model.halted(self.states[:loop])
        if layers := len(self.model.coda):
            queries = self.sparse if at is self.read else None
            for i in range(layers):
                needed = queries if i == layers - 1 else None
                state = self._apply(BlockCall("coda", i, loop), state, self.routings, needed)
            if queries is not None:
                state, at = queries.select(state), None
            state = self.model.final_norm(state)
        if at is not None:
            state = state[self.selected if at is self.read else at]
        return self.model.head(state)

    def keep_rows(self, rows: Tensor) -> None:
        """Goes on with the documents `rows` (int64[b] or bool[B]) alone."""
        if self.angles is not None and self.angles[0].dim() == 4:  # angles of each document
            cos, sin = self.angles
            self.angles = (cos[rows], sin[rows])
        if self.mask is not None:
            self.mask = self.mask[rows]
        if self.e is not None:
            self.e = self.e[rows]
        self.x = self.x[rows]
        self.states = [state[rows] for state in self.states]
