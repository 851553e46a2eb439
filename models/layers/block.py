"""One layer of the transformer.

Legend: B documents, T tokens that are seen, Q queries (T but for a selection), D width, H heads.
"""

from math import sqrt
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.hooks import KeyValueHook
from models.layers.mlp import MLP, MixtureOfExperts, RoutingHook
from models.layers.norms import RMSNorm, Vector
from models.positions import RotaryAngles, rotate
from models.shape import LoopedShape


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, H, T, D/H] from x [B, T, D], in which the heads lie side by side."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class Attention(nn.Module):
    """Causal multi-head self-attention, no biases.

    With `qk_norm` queries and keys of each head are normed before they are rotated, by gains that
    all heads share (2302.05442 §2, as in Qwen3): scores cannot outgrow √(D/H) times their gains.
    """

    def __init__(self, shape: LoopedShape, norm: type[RMSNorm] = RMSNorm) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.query_norm: nn.Module | None = None
        self.key_norm: nn.Module | None = None
        if shape.qk_norm:
            size = shape.width // shape.heads
            self.query_norm, self.key_norm = (norm(size, eps=shape.norm_eps) for _ in "qk")

    def forward(
        self,
        x: Tensor,
        angles: RotaryAngles | None,
        mask: Tensor | None,
        key_values: KeyValueHook | None = None,
    ) -> Tensor:
        q, k, v = self.qkv(x).split(x.shape[-1], dim=-1)
        return self.out(self.mix(q, k, v, (angles, angles), mask, key_values))

    def mix(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        angles: tuple[RotaryAngles | None, RotaryAngles | None],
        mask: Tensor | None,
        key_values: KeyValueHook | None = None,
    ) -> Tensor:
        """Values mixed by attention, [B, Q, D], from q [B, Q, D] and k, v [B, T, D].

        Args:
            angles: rotary angles of the queries and of the keys.
            mask: bool, True where a query sees a key; None: plain causal attention.
        """
        q, k = self.norm_heads(q, self.query_norm), self.norm_heads(k, self.key_norm)
        q, k = self.rotate_heads(q, angles[0]), self.rotate_heads(k, angles[1])
        v = split_heads(v, self.heads)
        if key_values is not None:
            k, v = key_values(k, v)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return mixed.transpose(1, 2).flatten(-2)

    def norm_heads(self, x: Tensor, norm: nn.Module | None) -> Tensor:
        """x [B, T, D] with every head normed by itself."""
        if norm is None:
            return x
        return norm(x.unflatten(-1, (self.heads, -1))).flatten(-2).to(x.dtype)

    def rotate_heads(self, x: Tensor, angles: RotaryAngles | None) -> Tensor:
        """[B, H, T, D/H] from x [B, T, D], each head rotated to its positions."""
        return rotate(split_heads(x, self.heads), angles)


class Layers(NamedTuple):
    """The kinds of layer that a model is made of."""

    norm: type[RMSNorm] = RMSNorm
    attention: type[Attention] = Attention
    mlp: type[MLP] = MLP


def branch_scales(shape: LoopedShape) -> list[float]:
    """What multiplies what each layer of the core adds: 1, or λ/(N√L) (2606.18524).

    What one layer adds in N runs grows with N, what L layers add with √L. N is that of
    `shape.loops`, also in a pass of more or fewer; prelude and coda add fully.
    """
    if shape.residual_scale is None:
        return [1.0] * shape.core
    runs = [call.layer for call in shape.schedule() if call.part == "core"]
    root = sqrt(shape.core)
    return [shape.residual_scale / (runs.count(layer) * root) for layer in range(shape.core)]


class Block(nn.Module):
    """One layer: attention and an MLP, which join the residual stream x as branches f.

    * `pre`: x + f(norm(x)); `sandwich`: x + norm(f(norm(x))).
    * `post`: norm(x + f(x)) (1706.03762); `deepnorm`: norm(√(2N)·x + f(x)) for the N blocks of a
      pass, with smaller weights at the start (DeepLoop, 2607.13491; for layers that differ
      DeepNet, 2203.00555 §3, has fourth roots).

    What a branch adds is multiplied by `scale` and, with LayerScale, by a learned vector
    (2103.17239 eq. 6).
    """

    def __init__(
        self,
        shape: LoopedShape,
        layers: Layers = Layers(),  # noqa: B008 frozen
        scale: float = 1.0,
    ) -> None:
        super().__init__()

        def norm(wanted: bool) -> nn.Module:
            return layers.norm(shape.width, eps=shape.norm_eps) if wanted else nn.Identity()

        def gain() -> Vector | None:
            return None if shape.layer_scale is None else Vector(shape.width, shape.layer_scale)

        self.scale, self.norms_sum = scale, shape.norm in ("post", "deepnorm")
        blocks = len(shape.schedule()) + shape.coda
        self.kept = sqrt(2 * blocks) if shape.norm == "deepnorm" else 1.0
        self.attention_norm = norm(not self.norms_sum)
        self.attention = layers.attention(shape, layers.norm)
        self.attention_gain = gain()
        self.attention_out_norm = norm(shape.norm != "pre")
        self.mlp_norm = norm(not self.norms_sum)
        experts = shape.mlp == "moe"
        self.mlp = MixtureOfExperts(shape, layers.mlp) if experts else layers.mlp(shape)
        self.mlp_gain = gain()
        self.mlp_out_norm = norm(shape.norm != "pre")

    def forward(
        self,
        x: Tensor,
        angles: RotaryAngles | None,
        mask: Tensor | None,
        key_values: KeyValueHook | None = None,
        routing_hook: RoutingHook | None = None,
    ) -> Tensor:
        mixed = self.attention(self.attention_norm(x), angles, mask, key_values)
        return self.join(x, mixed, routing_hook)

    def join(self, x: Tensor, mixed: Tensor, routing_hook: RoutingHook | None = None) -> Tensor:
        """The state x after it is joined by the attention's output and that of the MLP."""
        x = self._add(x, mixed, self.attention_out_norm, self.attention_gain)
        added = self.mlp(self.mlp_norm(x), routing_hook)
        return self._add(x, added, self.mlp_out_norm, self.mlp_gain)

    def _add(self, x: Tensor, added: Tensor, norm: nn.Module, gain: Vector | None) -> Tensor:
        """The state x after a branch has added to it; `norm` norms the branch or the sum."""
        if self.norms_sum:
            return norm(self.kept * x + self._scaled(added, gain))
        return x + self._scaled(norm(added), gain)

    def _scaled(self, added: Tensor, gain: Vector | None) -> Tensor:
        if gain is not None:
            added = added * gain(added)
        return added if self.scale == 1 else self.scale * added

    def matrices(self) -> dict[Tensor, int]:
        """Its matrices but for a router, with how many lie below each other in each."""
        attention = self.attention
        found: dict[Tensor, int] = {attention.qkv.weight: 3, attention.out.weight: 1}
        for mlp in self.mlp.modules():
            if isinstance(mlp, MLP):
                found[mlp.up.weight] = 2 if mlp.gated else 1
                found[mlp.down.weight] = 1
        return found

    @torch.no_grad()
    def start_small(self) -> None:
        """With DeepNorm, values, output and MLP begin (8N)^-½ times as large."""
        if self.kept == 1:
            return
        qkv, width = self.attention.qkv.weight, self.attention.out.in_features
        others = [matrix for matrix in self.matrices() if matrix is not qkv]
        for weight in (qkv[2 * width :], *others):
            weight.mul_(1 / (2 * self.kept))

    def start_as_identity(self) -> None:
        """Zeroes what both branches end in: output projections, or the norms behind those.

        A norm would blow up whatever a projection gave after its first step.
        """
        if isinstance(self.attention_out_norm, RMSNorm):
            assert isinstance(self.mlp_out_norm, RMSNorm)
            ends = [self.attention_out_norm.weight, self.mlp_out_norm.weight]
        else:
            mlps = [m for m in self.mlp.modules() if isinstance(m, MLP)]
            ends = [self.attention.out.weight, *(mlp.down.weight for mlp in mlps)]
        for weight in ends:
            nn.init.zeros_(weight)
