"""Models that our training is timed against: a plain loop, and a Llama of as many blocks.

Both are written the straightforward way, with the head and the loss at every token, and are
trained by torch's own AdamW and clipping. The plain loop is kept for these comparisons alone.

Legend: B documents, T tokens, D width, V vocabulary.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import LoopedConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from experiments.config.phases import Training
    from models.interface import LoopedModel


#: norms of one of our blocks in the order in which a plain one has them
NORMS = ("attention_norm", "attention_out_norm", "mlp_norm", "mlp_out_norm")


class PlainNorm(nn.RMSNorm):
    """In the precision of its weight."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class PlainBlock(nn.Module):
    """Sandwich norm, rotary attention, SwiGLU."""

    def __init__(self, config: LoopedConfig) -> None:
        super().__init__()
        D = config.width
        self.heads = config.heads
        self.norms = nn.ModuleList(PlainNorm(D, eps=config.norm_eps) for _ in range(4))
        self.query, self.key, self.value, self.out = (nn.Linear(D, D, bias=False) for _ in "qkvo")
        self.gate, self.up = (nn.Linear(D, config.hidden, bias=False) for _ in "gu")
        self.down = nn.Linear(config.hidden, D, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        B, T, D = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(B, T, self.heads, -1).transpose(1, 2)

        def turn(y: Tensor) -> Tensor:
            first, second = y.chunk(2, dim=-1)
            return y * cos + torch.cat((-second, first), dim=-1) * sin

        y = self.norms[0](x)
        q, k, v = split(self.query(y)), split(self.key(y)), split(self.value(y))
        y = F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True)
        x = x + self.norms[1](self.out(y.transpose(1, 2).reshape(B, T, D)))
        y = self.norms[2](x)
        return x + self.norms[3](self.down(F.silu(self.gate(y)) * self.up(y)))


class PlainLoop(nn.Module):
    """k⊗n: logits [B, T, V] of the last loop. `injection: add` joins the normed input to each."""

    def __init__(self, config: LoopedConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocabulary, config.width)
        self.core = nn.ModuleList(PlainBlock(config) for _ in range(config.core))
        self.norm = nn.RMSNorm(config.width, eps=config.norm_eps)
        self.entrance: nn.Module | None = None
        if config.injection == "add":
            self.entrance = nn.RMSNorm(config.width, eps=config.norm_eps)
        self.head = nn.Linear(config.width, vocabulary, bias=False)
        if config.tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        size = self.config.width // self.config.heads
        exponent = torch.arange(0, size, 2, device=tokens.device) / size
        angle = torch.arange(tokens.shape[1], device=tokens.device)[:, None]
        angle = (angle * self.config.rope_base**-exponent).repeat(1, 2)
        cos, sin = angle.cos(), angle.sin()
        x = self.embedding(tokens)
        joining = None if self.entrance is None else self.entrance(x)
        x = x if joining is None else torch.zeros_like(x)
        for _ in range(self.config.loops):
            x = x if joining is None else x + joining
            for block in self.core:
                x = block(x, cos, sin)
            x = self.norm(x)
        return self.head(x)

    @torch.no_grad()
    def copy_weights(self, model: "LoopedModel") -> None:
        """Begins with the weights of our model of the same shape."""
        own = model.state_dict()
        head = own["embedding.weight" if self.config.tied else "head.weight"]
        weights = {"embedding.weight": own["embedding.weight"], "head.weight": head}
        weights["norm.weight"] = own["final_norm.weight"]
        if self.entrance is not None:
            weights["entrance.weight"] = own["entrance.norm.weight"]
        for layer in (f"core.{i}." for i in range(len(self.core))):
            query, key, value = own[f"{layer}attention.qkv.weight"].chunk(3)
            gate, up = own[f"{layer}mlp.up.weight"].chunk(2)
            out, down = (own[f"{layer}{n}.weight"] for n in ("attention.out", "mlp.down"))
            parts = {"query": query, "key": key, "value": value, "out": out}
            parts |= {"gate": gate, "up": up, "down": down}
            for i, name in enumerate(NORMS):
                parts[f"norms.{i}"] = own[f"{layer}{name}.weight"]
            weights |= {f"{layer}{name}.weight": weight for name, weight in parts.items()}
        self.load_state_dict(weights)


def plain(config: LoopedConfig) -> bool:
    """Whether the plain loop is the whole of a shape."""
    shape = {"kind", "width", "heads", "core", "loops", "tied", "mlp_hidden", "injection"}
    asked = config.model_dump(exclude_defaults=True).keys()
    return config.kind == "looped" and config.injection in ("none", "add") and not asked - shape


def comparable(config: LoopedConfig) -> bool:
    """Whether a shape has nothing that the other models lack."""
    return plain(config) and config.injection == "none"


def llama(config: LoopedConfig, vocabulary: int) -> "Callable[[Tensor], Tensor] | None":
    """transformers' Llama with k·n layers and the same widths; None without the extra `hf`."""
    try:
        from transformers import LlamaConfig, LlamaForCausalLM  # pyrefly: ignore
    except ImportError:
        return None

    class Llama(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=vocabulary,
                    hidden_size=config.width,
                    intermediate_size=config.hidden,
                    num_hidden_layers=config.core * config.loops,
                    num_attention_heads=config.heads,
                    tie_word_embeddings=config.tied,
                    use_cache=False,
                    attn_implementation="sdpa",
                )
            )

        def forward(self, tokens: Tensor) -> Tensor:
            return self.model(input_ids=tokens).logits

    return Llama()


class PlainTraining:
    """Optimiser steps of a module that maps tokens [B, T] to logits [B, T, V]."""

    def __init__(self, module: nn.Module, training: "Training", device: torch.device) -> None:
        self.module, self.training, self.device = module.to(device), training, device
        matrices = [p for p in module.parameters() if p.dim() >= 2]
        vectors = [p for p in module.parameters() if p.dim() < 2]
        self.optimiser = torch.optim.AdamW(
            [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}],
            training.lr,
            training.betas,
            training.eps,
            training.weight_decay,
        )
        self.half = training.precision == "bf16"

    def step(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """One step on int64[B, T] each; -100 where nothing is predicted. The loss."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            logits = self.module(tokens).flatten(0, 1)
        loss = F.cross_entropy(logits.float(), targets.flatten())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.training.clip is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.training.clip)
        self.optimiser.step()
        return loss.detach()
