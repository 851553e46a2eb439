"""Models that our training step is timed against: a plain loop, and a Llama of as many blocks.

Both are written the straightforward way, with the head and the loss at every token, and are
trained by torch's own AdamW and clipping. The plain loop is kept for this comparison alone.

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
    """k⊗n: logits [B, T, V] of the last loop."""

    def __init__(self, config: LoopedConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocabulary, config.width)
        self.core = nn.ModuleList(PlainBlock(config) for _ in range(config.core))
        self.norm = nn.RMSNorm(config.width, eps=config.norm_eps)
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
        for _ in range(self.config.loops):
            for block in self.core:
                x = block(x, cos, sin)
            x = self.norm(x)
        return self.head(x)


def comparable(config: LoopedConfig) -> bool:
    """Whether a shape has nothing that the other models lack."""
    shape = {"width", "heads", "core", "loops", "tied", "mlp_hidden"}
    return config.kind == "looped" and not config.model_fields_set - shape - {"kind"}


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
        self.optimiser = torch.optim.AdamW(
            module.parameters(), training.lr, training.betas, training.eps, training.weight_decay
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
