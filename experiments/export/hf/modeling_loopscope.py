"""A looped transformer that was trained with loopscope, for `transformers`.

    embed → prelude → [entrance → core → final norm] × n → head (through the coda, if any)

Legend: B documents, T tokens, D width, H heads, E experts, n loops, V vocabulary.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel  # pyrefly: ignore
from transformers.utils import ModelOutput  # pyrefly: ignore

from .configuration_loopscope import LoopscopeConfig


@dataclass
class LoopscopeOutput(ModelOutput):
    """Of a pass.

    Attributes:
        loss: mean cross-entropy of `labels`, by the logits of the last loop.
        logits: [B, T, V] of the last loop.
        states: n tensors [B, T, D], normed, one after every loop.
        exit_probability: [n, B, T], where a gate gives a distribution over exits.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    states: tuple[Tensor, ...] | None = None
    exit_probability: Tensor | None = None


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the two halves of the first dimensions of x [B, H, T, D/H] against each other."""
    size = 2 * cos.shape[-1]
    a, b = x[..., :size].chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin, x[..., size:]), dim=-1)


class Attention(nn.Module):
    def __init__(self, c: SimpleNamespace) -> None:
        super().__init__()
        self.heads = c.heads
        self.qkv = nn.Linear(c.width, 3 * c.width, bias=False)
        self.out = nn.Linear(c.width, c.width, bias=False)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor] | None, mask: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if angles is not None:
            q, k = rotated(q, *angles), rotated(k, *angles)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).reshape(B, T, D))


class MLP(nn.Module):
    def __init__(self, c: SimpleNamespace) -> None:
        super().__init__()
        self.gated, hidden = c.mlp != "gelu", c.mlp_hidden
        self.up = nn.Linear(c.width, 2 * hidden if self.gated else hidden, bias=False)
        self.down = nn.Linear(hidden, c.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.gated:
            return self.down(F.gelu(self.up(x)))
        gate, up = self.up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class MixtureOfExperts(nn.Module):
    def __init__(self, c: SimpleNamespace) -> None:
        super().__init__()
        self.k = c.experts_per_token
        self.router = nn.Linear(c.width, c.experts, bias=False)
        self.experts = nn.ModuleList(MLP(c) for _ in range(c.experts))

    def forward(self, x: Tensor) -> Tensor:
        weight, chosen = self.router(x).float().softmax(-1).topk(self.k, dim=-1)
        if self.k > 1:
            weight = weight / weight.sum(-1, keepdim=True)
        share = torch.zeros(*x.shape[:-1], len(self.experts), device=x.device)
        share = share.scatter(-1, chosen, weight).to(x.dtype)  # [B, T, E]
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            out = out + share[..., i, None] * expert(x)
        return out


class Block(nn.Module):
    def __init__(self, c: SimpleNamespace) -> None:
        super().__init__()

        def norm(wanted: bool) -> nn.Module:
            return nn.RMSNorm(c.width, eps=c.norm_eps) if wanted else nn.Identity()

        sandwich = c.norm == "sandwich"
        self.attention_norm, self.attention = norm(True), Attention(c)
        self.attention_out_norm = norm(sandwich)
        self.mlp_norm, self.mlp = norm(True), (MixtureOfExperts if c.mlp == "moe" else MLP)(c)
        self.mlp_out_norm = norm(sandwich)

    def forward(self, x: Tensor, angles: tuple[Tensor, Tensor] | None, mask: Tensor) -> Tensor:
        x = x + self.attention_out_norm(self.attention(self.attention_norm(x), angles, mask))
        return x + self.mlp_out_norm(self.mlp(self.mlp_norm(x)))


class Entrance(nn.Module):
    """What joins the state before every loop: the loop's input, and which loop it is."""

    def __init__(self, c: SimpleNamespace) -> None:
        super().__init__()
        self.injection, self.embedding = c.injection, c.loop_embedding
        self.norm = nn.RMSNorm(c.width, eps=c.norm_eps)
        concat = c.injection == "concat"
        self.project = nn.Linear(2 * c.width, c.width, bias=False) if concat else None
        learned = c.loop_embedding == "learned"
        self.loops = nn.Embedding(c.loop_rows, c.width) if learned else None

    def forward(self, x: Tensor, e: Tensor, loop: int) -> Tensor:
        if self.project is not None:
            x = self.project(torch.cat((x, e), dim=-1))
        elif self.injection == "add" or (self.injection == "once" and loop == 1):
            x = x + e
        if self.loops is not None:
            return x + self.loops.weight[loop - 1]
        return x if self.embedding == "none" else x + sinusoid(loop, x)


def sinusoid(number: int, like: Tensor) -> Tensor:
    D = like.shape[-1]
    exponent = torch.arange((D + 1) // 2, device=like.device, dtype=torch.float32) / max(D // 2, 1)
    angle = number * 10_000.0**-exponent
    return torch.cat((angle.sin(), angle.cos()))[:D].to(like.dtype)


class LoopscopeForCausalLM(PreTrainedModel, GenerationMixin):
    """Predicts the next token after the last loop; there is no cache of keys and values."""

    config_class = LoopscopeConfig
    main_input_name = "input_ids"
    _no_split_modules = ["Block"]

    def __init__(self, config: LoopscopeConfig) -> None:
        super().__init__(config)
        c = self.shape = SimpleNamespace(**config.shape)
        self.embedding = nn.Embedding(config.vocab_size, c.width)
        for part in ("prelude", "core", "coda"):
            setattr(self, part, nn.ModuleList(Block(c) for _ in range(getattr(c, part))))
        self.final_norm = nn.RMSNorm(c.width, eps=c.norm_eps)
        self.head = None if c.tied else nn.Linear(c.width, config.vocab_size, bias=False)
        self.gate = nn.Linear(c.width, 1) if config.gate else None
        learned = c.positions == "learned"
        self.position = nn.Embedding(c.context, c.width) if learned else None
        enters = c.injection != "none" or c.loop_embedding != "none"
        self.entrance = Entrance(c) if enters else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embedding = value

    def get_output_embeddings(self) -> nn.Module | None:
        return self.head

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        n_loops: int | None = None,
        **unused,
    ) -> LoopscopeOutput:
        """Runs all loops.

        Args:
            input_ids: int64[B, T], padded on either side.
            attention_mask: [B, T], 0 at padding; needed for padding on the left.
            labels: int64[B, T], predicted one position before; -100 is left out.
            n_loops: overrides `config.loops`, may exceed it.
        """
        loops = self.config.loops if n_loops is None else n_loops
        seen = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        seen = seen[:, -input_ids.shape[1] :].bool()
        if position_ids is None:
            position_ids = (seen.long().cumsum(-1) - 1).clamp(min=0)
        T = input_ids.shape[1]
        causal = torch.ones(T, T, dtype=torch.bool, device=input_ids.device).tril()
        own = torch.eye(T, dtype=torch.bool, device=input_ids.device)
        where = (self._angles(position_ids), (causal & seen[:, None, None, :]) | own)
        states = self._states(input_ids, position_ids, loops, where)
        gates = None if self.gate is None else torch.stack([self.gate(s)[..., 0] for s in states])
        halting = self.config.halting
        state = states[-1]
        if gates is not None and halting is not None:
            state = halted(states, gates, halting)
        logits = self._logits(state, where)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        exits = None if gates is None or halting is not None else exit_probability(gates)
        return LoopscopeOutput(loss, logits, tuple(states), exits)

    def _states(self, tokens: Tensor, positions: Tensor, loops: int, where: tuple) -> list[Tensor]:
        c = self.shape
        x = self.embedding(tokens)
        if self.position is not None:
            x = x + self.position(positions)
        for block in self.prelude:
            x = block(x, *where)
        e = x
        if self.entrance is not None:
            e = self.entrance.norm(x)
            x = e if c.injection == "none" else torch.zeros_like(e)
        order, passes = list(range(c.core)), loops
        if c.reuse == "sequence":
            order, passes = [i for i in order for _ in range(loops)], 1
        elif c.reuse != "cycle":
            order = list(c.reuse)
        states = []
        for t in range(1, passes + 1):
            if self.entrance is not None:
                x = self.entrance(x, e, t)
            for i in order:
                x = self.core[i](x, *where)
            states.append(self.final_norm(x))
            if c.norm_between_loops:
                x = states[-1]
        return states

    def _logits(self, state: Tensor, where: tuple) -> Tensor:
        if len(self.coda):
            for block in self.coda:
                state = block(state, *where)
            state = self.final_norm(state)
        return F.linear(state, self.embedding.weight) if self.head is None else self.head(state)

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor] | None:
        """cos and sin of the rotary angles, [B, 1, T, r/2]; None without rotary positions."""
        c = self.shape
        head = c.width // c.heads
        size = {"rope": head, "rope-quarter": head // 4}.get(c.positions, 0)
        if not size:
            return None
        exponent = torch.arange(0, size, 2, device=positions.device, dtype=torch.float32)
        angle = positions.float()[:, None, :, None] * c.rope_base ** (-exponent / size)
        dtype = self.embedding.weight.dtype
        return angle.cos().to(dtype), angle.sin().to(dtype)


def exit_probability(gates: Tensor) -> Tensor:
    """p(t) [n, …] of leaving after loop t, from gate logits; what is left over leaves last."""
    stay = F.logsigmoid(-gates[:-1]).cumsum(0)
    before = torch.cat((torch.zeros_like(gates[:1]), stay))
    return torch.cat((F.logsigmoid(gates[:-1]) + before[:-1], before[-1:])).exp()


def halted(states: list[Tensor], gates: Tensor, epsilon: float) -> Tensor:
    """The states weighted by their halting: λ_t until they add up to 1 - ε, then the rest."""
    left, out = torch.ones_like(gates[0]), torch.zeros_like(states[0])
    for t, (state, probability) in enumerate(zip(states, gates.sigmoid(), strict=True), 1):
        stops = (1 - left + probability >= 1 - epsilon) | torch.tensor(t == len(states))
        weight = torch.where(left > 0, torch.where(stops, left, probability), 0.0)
        out = out + weight[..., None] * state
        left = torch.where(stops, 0.0, left - weight)
    return out
