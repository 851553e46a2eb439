"""Layers that compute the same as those of `models.layers`, faster where that is possible.

`LoopedTransformer` is made of these unless it is told otherwise. Names and shapes of weights are
those of the plain layers.
"""

from torch import Tensor

from models.counts import keeps_probabilities
from models.fast.fused import FusedRMSNorm, HeadAngles, Rotation, use_fused
from models.fast.replica_axis import linear
from models.fast.short_attention import short_attention
from models.hooks import KeyValueHook
from models.layers.block import Attention, Layers, split_heads
from models.layers.mlp import MLP
from models.layers.norms import RMSNorm
from models.positions import RotaryAngles, causal


class FastRMSNorm(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        if use_fused(self, x):
            return FusedRMSNorm.apply(x, self.weight, self.eps)
        return super().forward(x)


class FastAttention(Attention):
    def mix(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        angles: tuple[RotaryAngles | None, RotaryAngles | None],
        mask: Tensor | None,
        key_values: KeyValueHook | None = None,
    ) -> Tensor:
        short = keeps_probabilities(k.shape[1], half=k.element_size() < 4)
        if key_values is not None or not short or not use_fused(self, q):
            return super().mix(q, k, v, angles, mask, key_values)
        q, k = self.norm_heads(q, self.query_norm), self.norm_heads(k, self.key_norm)
        mask = causal(k.shape[1], k.device) if mask is None else mask
        of_q, of_k = angles
        both = None if of_q is None or of_k is None else (of_q, of_k)
        return short_attention(q, k, v, self.heads, mask, both)

    def rotate_heads(self, x: Tensor, angles: RotaryAngles | None) -> Tensor:
        if angles is None or not use_fused(self, x):
            return super().rotate_heads(x, angles)
        cos, sin = (t.to(x.dtype) for t in angles)
        rotated = Rotation.apply(x, HeadAngles.of((cos, sin), x, self.heads))
        return split_heads(rotated, self.heads)


class FastMLP(MLP):
    def gate_and_up(self, x: Tensor) -> tuple[Tensor, ...]:
        if not use_fused(self, x):
            return super().gate_and_up(x)
        # two products spare the backward pass a copy of both halves
        return tuple(linear(x, half) for half in self.up.weight.chunk(2, dim=-2))


FAST = Layers(FastRMSNorm, FastAttention, FastMLP)
