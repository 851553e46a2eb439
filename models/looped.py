"""The looped transformer: the same core layers run n times (Ouro / LoopLM, 2510.25741 §3).

    embed → prelude → [input injection → core → final norm] × n → (coda) → head
                                                             └→ gate

`LoopedWeights` holds the weights; `Pass` computes, in that order. Training runs all loops at
once (`forward`). Decoding steps a pass itself (`begin`): it looks at the state after each loop,
and goes on with fewer documents once some have left.

Legend: B documents, T tokens, n loops.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from models.forward_pass import Pass
from models.hooks import Intervention, KeyValueSource, listener
from models.layers.mlp import mean_imbalance
from models.outputs import LoopMap, LoopOutputs, Positions
from models.positions import causal_mask
from models.weights import LoopedWeights


class LoopedTransformer(LoopedWeights):
    """k core layers ⊗ n loops; one final norm, one head and one exit gate shared by all loops.

    A variant derives from it and from `Pass`, and changes what it needs: the parts that there
    are (`extend`), the block of a call (`block`), or a step of the pass (`pass_type`).
    """

    pass_type: ClassVar[type[Pass]] = Pass

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

        run = self.pass_type(self, tokens, loops, positions, mask, hook, key_values, read)
        first, states = run.x, []
        for t in range(1, self.config.states(loops) + 1):
            learned = backprop_loops is None or t > loops - backprop_loops
            with torch.set_grad_enabled(learned and torch.is_grad_enabled()):
                states.append(run.loop(t, recompute=recompute))
        imbalance = partial(mean_imbalance, run.routings, run.counted)
        loop_map = None
        if run.sparse is None:
            loop_map = LoopMap(run.again, first, run.x, run.normed, run.counted)
        seen = (self.read_exit, captured, imbalance, run.state_positions, loop_map)
        return LoopOutputs(states, run.logits, *seen)

    def begin(
        self,
        tokens: Tensor,
        loops: int,
        positions: Tensor,
        mask: Tensor | None = None,
        *,
        key_values: KeyValueSource | None = None,
    ) -> Pass:
        """A `Pass` that has embedded the tokens and run the prelude."""
        return self.pass_type(self, tokens, loops, positions, mask, key_values=key_values)
