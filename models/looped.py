"""The looped transformer: the same core layers run n times (Ouro / LoopLM, 2510.25741 §3).

    embed → prelude → [input injection → core → final norm] × n → (coda) → head
                                                             └→ gate

`LoopedTransformer` holds the weights; `Pass` computes, in that order. Training runs all loops at
once (`forward`). Decoding steps a pass itself (`begin`): it looks at the state after each loop,
and goes on with fewer documents once some have left.

Legend: B documents, T tokens, D width, H heads, S tokens that are seen, V vocabulary, n loops,
M selected positions.
"""

from collections.abc import Collection, Sequence
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.counts import count_parameters
from models.fast.layers import FAST
from models.fast.sparse_queries import SparseQueries, to_device_async
from models.hooks import Hook, Intervention, KeyValueSource, listener, no_hook
from models.interface import LoopedModel
from models.layers.block import Block, Layers
from models.layers.initial_weights import draw_weights
from models.layers.input_injection import InputInjection
from models.layers.mlp import Routing, mean_imbalance
from models.outputs import LoopOutputs, Positions
from models.positions import angles_at, causal_mask
from models.shape import BlockCall, LoopedShape


class LoopedTransformer(LoopedModel):
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
        self.core = nn.ModuleList(Block(shape, layers) for _ in range(shape.core))
        self.coda = nn.ModuleList(Block(shape, layers) for _ in range(shape.coda))
        self.final_norm = layers.norm(D, eps=shape.norm_eps)
        self.head = nn.Linear(D, vocabulary_size, bias=False)
        if shape.tied:
            self.head.weight = self.embedding.weight
        self.gate = nn.Linear(D, 1) if gate else None
        learned = shape.context if shape.positions == "learned" else None
        self.position = None if learned is None else nn.Embedding(learned, D)
        self.entrance = InputInjection(shape, layers.norm) if shape.injects else None
        draw_weights(self, seed, zero_init=shape.zero_init)

    def forward(
        self,
        tokens: Tensor,
        n_loops: int | None = None,
        *,
        positions: Tensor | None = None,
        attention_mask: Tensor | None = None,
        capture: Collection[str] = (),
        interventions: Sequence[Intervention] = (),
        key_values: KeyValueSource | None = None,
        backprop_loops: int | None = None,
        recompute: bool = False,
        read: Positions | None = None,
    ) -> LoopOutputs:
        """States of every loop.

        Args:
            tokens: int[B, T], right-padded (padding needs no mask: attention is causal).
            n_loops: overrides `config.loops`, may exceed it.
            positions: int[T] or int[B, T], where each token stands; default 0 … T-1.
            attention_mask: bool[B, T], False where a token must not be seen (left padding).
            capture: hook names to return in `captured`: `embed`, the `BlockCall.name`s of the
                schedule, and `state.loop.t` (after the final norm).
            interventions: (hook name, function) pairs; the function's result replaces the state.
            key_values: decides what keys and values are seen; default: those of this pass.
            backprop_loops: only the last so many loops are differentiated; None: all.
            recompute: keep only what enters each loop and compute the rest again in the
                backward pass, so that activations do not grow with the loops.
            read: the only positions at which states and logits will be read. The last block is
                then computed there alone, if they are few; without a coda so are the states,
                [M, D]. Loss and gradients are those of a whole pass. On the host, so that
                nothing waits for a GPU to learn how many there are.

        Raises:
            ValueError: a number of loops below 1 or beyond the rows of a learned embedding,
                tokens beyond the positions, or a hook name that this pass does not have.
        """
        loops = self.config.loops if n_loops is None else n_loops
        self.config.check_loops(loops, backprop_loops)
        hooked = {*capture, *(name for name, _ in interventions)}
        if unknown := sorted(hooked - (known := self.config.hook_names(loops))):
            raise ValueError(f"no hook {', '.join(unknown)}; this pass has {sorted(known)}")
        captured: dict[str, Tensor] = {}
        hook = listener(capture, interventions, captured)
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)
        mask = None if attention_mask is None else causal_mask(attention_mask)

        run = Pass(self, tokens, loops, positions, mask, hook, key_values, read)
        states = []
        for t in range(1, self.config.states(loops) + 1):
            learned = backprop_loops is None or t > loops - backprop_loops
            with torch.set_grad_enabled(learned and torch.is_grad_enabled()):
                states.append(run.loop(t, recompute=recompute))
        imbalance = partial(mean_imbalance, run.routings, run.counted)
        return LoopOutputs(
            states, run.logits, self.read_exit, captured, imbalance, run.state_positions
        )

    def begin(
        self,
        tokens: Tensor,
        loops: int,
        positions: Tensor,
        mask: Tensor | None = None,
        *,
        key_values: KeyValueSource | None = None,
    ) -> "Pass":
        """A `Pass` that has embedded the tokens and run the prelude."""
        return Pass(self, tokens, loops, positions, mask, key_values=key_values)

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
        model: LoopedTransformer,
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

        self.x = hook("embed", model.embed(tokens, positions))
        for call in self.calls.get(0, ()):
            self.x = self._apply(call, self.x, self.routings)
        #: what joins the state before every loop
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
        if (queries := self._queries(number)) is not None:
            state = self.model.final_norm(queries.select(self.x))
        else:
            state = self.hook(f"state.loop.{number}", self.model.final_norm(self.x))
            if self.model.config.norm_between_loops:
                self.x = state
            if self.state_positions is not None:
                state = state[self.selected]
        if self.model.halting is not None:
            self.states.append(state)
        return state

    def _core(self, number: int, x: Tensor, e: Tensor | None) -> tuple[Tensor, list[Routing]]:
        routings: list[Routing] = []
        if self.model.entrance is not None:
            x = self.model.entrance(x, e, number)
        *calls, last = self.calls[number]
        for call in calls:
            x = self._apply(call, x, routings)
        return self._apply(last, x, routings, self._queries(number)), routings

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
        block = getattr(self.model, call.part)[call.layer]
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
