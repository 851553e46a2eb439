"""The looped transformer: the same core layers run n times (Ouro / LoopLM, 2510.25741 §3).

    embed → prelude → [core → final norm] × n → head (through the coda, where there is one)

Legend: B documents, T tokens, D width, H heads, V vocabulary, n loops, M selected positions.
"""

from collections.abc import Callable, Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import BlockCall, LoopedConfig
from models.counts import count_parameters
from models.outputs import LoopOutputs
from models.passes import Hook, Memory, Pass, Recall, no_hook

#: standard deviation of embedding and head at the start, as in GPT-2: logits begin near uniform
OUTER_STD = 0.02

#: (hook name, function of the state that returns the state to go on with)
Intervention = tuple[str, Callable[[Tensor], Tensor]]


def rotary_table(positions: Tensor, head_size: int, base: float) -> tuple[Tensor, Tensor]:
    """cos and sin, each [..., T, head_size/2] (RoFormer, 2104.09864)."""
    exponent = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32)
    frequency = base ** (-exponent / head_size)
    angle = positions.to(torch.float32)[..., None] * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Rotates the two halves of the last axis of x [B, H, T, head_size] against each other."""
    cos, sin = (t.to(x.dtype) for t in table)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def causal_mask(attention_mask: Tensor) -> Tensor:
    """bool[B, 1, T, T]: what each token sees, given the tokens that may be seen, bool[B, T]."""
    T = attention_mask.shape[1]
    causal = torch.ones(T, T, dtype=torch.bool, device=attention_mask.device).tril()
    # a padded query may see itself, so that its softmax is not empty
    own = torch.eye(T, dtype=torch.bool, device=attention_mask.device)
    return (causal & attention_mask[:, None, None, :]) | own


class RMSNorm(nn.RMSNorm):
    """Root-mean-square norm (1910.07467) in the precision of its weight, under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class Attention(nn.Module):
    """Causal multi-head self-attention with rotary positions, no biases."""

    def __init__(self, config: LoopedConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self,
        x: Tensor,
        table: tuple[Tensor, Tensor],
        mask: Tensor | None,
        recall: Recall | None = None,
    ) -> Tensor:
        B, T, D = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, T, D/H]
        q, k = rotate(q, table), rotate(k, table)
        if recall is not None:
            k, v = recall(k, v)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.out(mixed.transpose(1, 2).reshape(B, T, D))


class MLP(nn.Module):
    """SwiGLU (2002.05202) or GELU, no biases."""

    def __init__(self, config: LoopedConfig) -> None:
        super().__init__()
        self.gated = config.mlp == "swiglu"
        self.hidden = config.hidden
        columns = 2 * self.hidden if self.gated else self.hidden
        self.up = nn.Linear(config.width, columns, bias=False)
        self.down = nn.Linear(self.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.gated:
            gate, up = self.up(x).split(self.hidden, dim=-1)
            return self.down(F.silu(gate) * up)
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """One layer. Sandwich norm also norms each branch before it joins the residual stream."""

    def __init__(self, config: LoopedConfig) -> None:
        super().__init__()
        sandwich = config.norm == "sandwich"

        def norm(wanted: bool) -> nn.Module:
            return RMSNorm(config.width, eps=config.norm_eps) if wanted else nn.Identity()

        self.attention_norm = norm(True)
        self.attention = Attention(config)
        self.attention_out_norm = norm(sandwich)
        self.mlp_norm = norm(True)
        self.mlp = MLP(config)
        self.mlp_out_norm = norm(sandwich)

    def forward(
        self,
        x: Tensor,
        table: tuple[Tensor, Tensor],
        mask: Tensor | None,
        recall: Recall | None = None,
    ) -> Tensor:
        mixed = self.attention(self.attention_norm(x), table, mask, recall)
        x = x + self.attention_out_norm(mixed)
        return x + self.mlp_out_norm(self.mlp(self.mlp_norm(x)))


class LoopedTransformer(nn.Module):
    """k core layers ⊗ n loops; one final norm, one head and one exit gate shared by all loops."""

    def __init__(
        self, config: LoopedConfig, vocabulary_size: int, *, gate: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        self.config = config
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
        self._initialise(seed)

    def _initialise(self, seed: int) -> None:
        """Normal: embedding and head 0.02, other matrices 1/√fan-in. Norms one, gate zero.

        A gate at zero starts with λ = ½ in every loop. Drawn on the CPU, so that a seed gives
        the same weights on every device.
        """
        rng = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.startswith("gate."):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                outer = name in ("embedding.weight", "head.weight")
                std = OUTER_STD if outer else parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=std, generator=rng)

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
    ) -> LoopOutputs:
        """States of every loop.

        Args:
            tokens: int[B, T], right-padded (padding needs no mask: attention is causal).
            n_loops: overrides `config.loops`, may exceed it.
            positions: int[T] or int[B, T] for the rotary angles; default 0 … T-1.
            attention_mask: bool[B, T], False where a token must not be seen (left padding).
            capture: hook names to return in `captured`: `embed`, the `BlockCall.name`s of the
                schedule, and `state.loop.t` (after the final norm).
            interventions: (hook name, function) pairs; the function's result replaces the state.
            memory: decides what keys and values are seen; default: those of this pass.

        Raises:
            ValueError: n_loops < 1, or a hook name that this pass does not have.
        """
        loops = self.config.loops if n_loops is None else n_loops
        if loops < 1:
            raise ValueError(f"n_loops must be 1 or more, got {loops}")
        self._check_hooks(loops, {*capture, *(name for name, _ in interventions)})
        captured: dict[str, Tensor] = {}

        def hook(name: str, x: Tensor) -> Tensor:
            for wanted, change in interventions:
                if wanted == name:
                    x = change(x)
            if name in capture:
                captured[name] = x
            return x

        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)
        mask = None if attention_mask is None else causal_mask(attention_mask)
        run = self.begin(tokens, loops, positions, mask, hook, memory)
        states = [run.loop(t) for t in range(1, loops + 1)]
        return LoopOutputs(states, run.logits, self.read_exit, captured)

    def begin(
        self,
        tokens: Tensor,
        loops: int,
        positions: Tensor,
        mask: Tensor | None = None,
        hook: Hook = no_hook,
        memory: Memory | None = None,
    ) -> Pass:
        """A pass that has embedded the tokens and run the prelude, to be stepped by its caller.

        Args:
            loops: the largest loop that will be run.
            mask: bool, broadcastable to [B, H, T, S]: True where a query sees a key; None: causal.
        """
        head_size = self.config.width // self.config.heads
        cos, sin = rotary_table(positions, head_size, self.config.rope_base)
        if positions.dim() == 2:  # one row of angles per document, the same for every head
            cos, sin = cos[:, None], sin[:, None]
        return Pass(self, tokens, loops, (cos, sin), mask, hook, memory)

    @property
    def read_exit(self) -> Callable[[Tensor], Tensor] | None:
        gate = self.gate
        return None if gate is None else lambda state: gate(state).squeeze(-1)

    def _check_hooks(self, loops: int, names: set[str]) -> None:
        known = {"embed", *(f"state.loop.{t}" for t in range(1, loops + 1))}
        known |= {call.name for call in self.config.schedule(loops)}
        known |= {
            BlockCall("coda", i, t).name
            for i in range(self.config.coda)
            for t in range(1, loops + 1)
        }
        if unknown := sorted(names - known):
            raise ValueError(f"no hook {', '.join(unknown)}; this pass has {sorted(known)}")

    def count_parameters(self) -> dict[str, int]:
        """Parameters by part, checked against the module's own tensors."""
        counts = count_parameters(self.config, self.vocabulary_size, gate=self.gate is not None)
        unused = self.config.width * (1 if self.config.tied else 2)  # the rows of <pad>
        stored = sum(p.numel() for p in self.parameters())
        assert counts["total"] == stored - unused, (counts, stored)
        return counts
