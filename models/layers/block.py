"""One layer of the transformer.

Legend: B documents, T tokens, D width, H heads.
"""

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from models.config import LoopedConfig
from models.counts import keeps_probabilities
from models.fast.fused import Angles, Rotation, worthwhile
from models.fast.short_attention import causal, short_attention
from models.joint import linear
from models.layers.mlp import MLP, MixtureOfExperts, Routed
from models.layers.norms import RMSNorm
from models.positions import RotaryTable, rotate

if TYPE_CHECKING:
    from models.fast.sparse_queries import Reading
    from models.passes import Recall


class Attention(nn.Module):
    """Causal multi-head self-attention, no biases."""

    def __init__(self, config: LoopedConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self,
        x: Tensor,
        table: RotaryTable | None,
        mask: Tensor | None,
        recall: "Recall | None" = None,
    ) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(x).split(D, dim=-1)
        if recall is None and self._keeps_probabilities(q, k):
            seen = causal(T, x.device) if mask is None else mask
            turns = None if table is None else (table, table)
            return self.out(short_attention(q, k, v, self.heads, seen, turns))
        q, k, v = self._turned(q, table), self._turned(k, table), self._apart(v)
        if recall is not None:
            k, v = recall(k, v)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.out(mixed.transpose(1, 2).reshape(B, T, D))

    def at(self, reading: "Reading", x: Tensor, table: RotaryTable | None) -> Tensor:
        """[B, Q, D]: `forward` at the positions that are read."""
        B, _, D = x.shape
        query, key_value = self.qkv.weight.split((D, 2 * D), dim=-2)
        q = linear(reading.gather(x), query)
        k, v = linear(x, key_value).split(D, dim=-1)
        if self._keeps_probabilities(q, k):
            turns = None if table is None or reading.table is None else (reading.table, table)
            return self.out(short_attention(q, k, v, self.heads, reading.mask, turns))
        q, k, v = self._turned(q, reading.table), self._turned(k, table), self._apart(v)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=reading.mask)
        return self.out(mixed.transpose(1, 2).reshape(B, -1, D))

    def _keeps_probabilities(self, q: Tensor, k: Tensor) -> bool:
        short = keeps_probabilities(k.shape[1], half=k.element_size() < 4)
        return short and worthwhile(self, q)

    def _turned(self, x: Tensor, table: RotaryTable | None) -> Tensor:
        """[B, H, T, D/H] of x [B, T, D], turned to the positions of a table."""
        if table is None or not worthwhile(self, x):
            return rotate(self._apart(x), table)
        cos, sin = (angles.to(x.dtype) for angles in table)
        return self._apart(Rotation.apply(x, Angles.of((cos, sin), x, self.heads)))

    def _apart(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


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
        self.mlp = (MixtureOfExperts if config.mlp == "moe" else MLP)(config)
        self.mlp_out_norm = norm(sandwich)

    def forward(
        self,
        x: Tensor,
        table: RotaryTable | None,
        mask: Tensor | None,
        recall: "Recall | None" = None,
        routed: Routed | None = None,
    ) -> Tensor:
        mixed = self.attention(self.attention_norm(x), table, mask, recall)
        return self._finish(x, mixed, routed)

    def at(self, reading: "Reading", x: Tensor, table: RotaryTable | None) -> Tensor:
        """[B, Q, D]: `forward` at the positions that are read."""
        mixed = self.attention.at(reading, self.attention_norm(x), table)
        return self._finish(reading.gather(x), mixed, None)

    def _finish(self, x: Tensor, mixed: Tensor, routed: Routed | None) -> Tensor:
        x = x + self.attention_out_norm(mixed)
        return x + self.mlp_out_norm(self.mlp(self.mlp_norm(x), routed))

    def start_as_identity(self) -> None:
        """Zeroes what both branches end in: output projections, or the norms behind those.

        A norm would blow up whatever a projection gave after its first step.
        """
        if isinstance(self.attention_out_norm, RMSNorm):
            assert isinstance(self.mlp_out_norm, RMSNorm)
            ends = [self.attention_out_norm.weight, self.mlp_out_norm.weight]
        else:
            ends = [self.attention.out.weight, *(mlp.down.weight for mlp in self.mlp.parts())]
        for weight in ends:
            nn.init.zeros_(weight)
