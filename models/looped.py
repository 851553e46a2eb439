"""The looped transformer: the same core layers run n times (Ouro / LoopLM, 2510.25741 §3).

    embed → prelude → [entrance → core → final norm] × n → head (through the coda, if any)

Legend: B documents, T tokens, D width, H heads, V vocabulary, n loops, M selected positions.
"""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from models.config import BlockCall, LoopedConfig
from models.counts import count_parameters
from models.fast.short_attention import causal
from models.interface import LoopedModel
from models.layers.block import Block
from models.layers.input_injection import Entrance
from models.layers.norms import RMSNorm
from models.outputs import LoopOutputs, Positions
from models.passes import Hook, Memory, Pass, no_hook

#: standard deviation of embedding and head at the start, as in GPT-2: logits begin near uniform
OUTER_STD = 0.02
#: what begins with it
OUTER = ("embedding.weight", "head.weight", "position.weight", "entrance.loops.weight")

#: (hook name, function of the state that returns the state to go on with)
Intervention = tuple[str, Callable[[Tensor], Tensor]]


def causal_mask(attention_mask: Tensor) -> Tensor:
    """bool[B, 1, T, T]: what each token sees, given the tokens that may be seen, bool[B, T]."""
    T = attention_mask.shape[1]
    seen = causal(T, attention_mask.device) & attention_mask[:, None, None, :]
    # a padded query may see itself, so that its softmax is not empty
    return seen | torch.eye(T, dtype=torch.bool, device=attention_mask.device)


class LoopedTransformer(LoopedModel):
    """k core layers ⊗ n loops; one final norm, one head and one exit gate shared by all loops."""

    def __init__(
        self, config: LoopedConfig, vocabulary_size: int, *, gate: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        self.config: LoopedConfig = config  # pyrefly: ignore
        self.vocabulary_size = vocabulary_size
        self.embedding = nn.Embedding(vocabulary_size, config.width)
        self.prelude = nn.ModuleList(Block(config) for _ in range(config.prelude))
        self.core = nn.ModuleList(Block(config) for _ in range(config.core))
        self.coda = nn.ModuleList(Block(config) for _ in range(config.coda))
        self.final_norm = RMSNorm(config.width, eps=config.norm_eps)
        self.head = nn.Linear(config.width, vocabulary_size, bias=False)
        if config.tied:
            self.head.weight = self.embedding.weight
        self.gate = nn.Linear(config.width, 1) if gate else None
        learned = config.context if config.positions == "learned" else None
        self.position = None if learned is None else nn.Embedding(learned, config.width)
        self.entrance = Entrance(config) if config.enters else None
        self._initialise(seed)

    def _initialise(self, seed: int) -> None:
        """Normal: embeddings and head 0.02, other matrices 1/√fan-in. Norms one, gate zero.

        A gate at zero starts with λ = ½ in every loop. Drawn on the CPU, so that a seed gives
        the same weights on every device.
        """
        rng = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.startswith("gate."):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                std = OUTER_STD if name in OUTER else parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=std, generator=rng)
        if self.config.zero_init:
            for block in self.modules():
                if isinstance(block, Block):
                    block.start_as_identity()

    def forward(
        self,
        tokens: Tensor,
        n_loops: int | None = None,
        *,
        positions: Tensor | None = None,
        attention_mask: Tensor | None = None,
        capture: Collection[str] = (),
        interventions: Sequence[Intervention] = (),
        memory: Memory | None = None,
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
            memory: decides what keys and values are seen; default: those of this pass.
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
        self._check_loops(loops, backprop_loops)
        self._check_hooks(loops, {*capture, *(name for name, _ in interventions)})
        captured: dict[str, Tensor] = {}

        def listen(name: str, x: Tensor) -> Tensor:
            for wanted, change in interventions:
                if wanted == name:
                    x = change(x)
            if name in capture:
                captured[name] = x
            return x

        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)
        mask = None if attention_mask is None else causal_mask(attention_mask)
        hook = listen if capture or interventions else no_hook
        run = self.begin(tokens, loops, positions, mask, hook, memory, read)
        states = []
        for t in range(1, self.config.states(loops) + 1):
            learned = backprop_loops is None or t > loops - backprop_loops
            with torch.set_grad_enabled(learned and torch.is_grad_enabled()):
                states.append(run.loop(t, recompute=recompute))

        return LoopOutputs(
            states, run.logits, self.read_exit, captured, run.imbalance, run.state_positions
        )

    def begin(
        self,
        tokens: Tensor,
        loops: int,
        positions: Tensor,
        mask: Tensor | None = None,
        hook: Hook = no_hook,
        memory: Memory | None = None,
        read: Positions | None = None,
    ) -> Pass:
        """A pass that has embedded the tokens and run the prelude, to be stepped by its caller.

        Args:
            loops: the largest loop that will be run.
            mask: bool, broadcastable to [B, H, T, S]: True where a query sees a key; None: causal.
            read: see `Pass`.
        """
        self._check_loops(loops, None)
        return Pass(self, tokens, loops, positions, mask, hook, memory, read)

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

    def _check_loops(self, loops: int, backprop_loops: int | None) -> None:
        if loops < 1:
            raise ValueError(f"n_loops must be 1 or more, got {loops}")
        rows = self.config.embedded_loops
        if rows is not None and loops > rows:
            raise ValueError(
                f"n_loops {loops} is more than the {rows} loop_rows of loop_embedding learned; "
                "sinusoidal has no end"
            )
        if backprop_loops is None:
            return
        if backprop_loops < 1:
            raise ValueError(f"backprop_loops must be 1 or more, got {backprop_loops}")
        if self.config.reuse == "sequence":
            raise ValueError("backprop_loops needs loops to cut between; reuse is sequence")

    def _check_hooks(self, loops: int, names: set[str]) -> None:
        known = {"embed", *(f"state.loop.{t}" for t in range(1, self.config.states(loops) + 1))}
        known |= {call.name for call in self.config.schedule(loops)}
        known |= {
            BlockCall("coda", i, t).name
            for i in range(self.config.coda)
            for t in range(1, self.config.states(loops) + 1)
        }
        if unknown := sorted(names - known):
            raise ValueError(f"no hook {', '.join(unknown)}; this pass has {sorted(known)}")

    def count_parameters(self) -> dict[str, int]:
        """Parameters by part, checked against the module's own tensors."""
        counts = count_parameters(self.config, self.vocabulary_size, gate=self.gate is not None)
        # the rows of <pad>
        unused = self.config.width * (1 if self.config.tied else 2)
        stored = sum(p.numel() for p in self.parameters())
        assert counts["total"] == stored - unused, (counts, stored)
        return counts
