"""One layer of the transformer.

Legend: B documents, T tokens that are seen, Q queries (T but for a selection), D width, H heads.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from models.hooks import KeyValueHook
from models.layers.mlp import MLP, MixtureOfExperts, RoutingHook
from models.layers.norms import RMSNorm
from models.positions import RotaryAngles, rotate
from models.shape import LoopedShape


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, H, T, D/H] from x [B, T, D], in which the heads lie side by side."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class Attention(nn.Module):
    """Causal multi-head self-attention, no biases."""

    def __init__(self, shape: LoopedShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)

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
        q, k = self.rotate_heads(q, angles[0]), self.rotate_heads(k, angles[1])
        v = split_heads(v, self.heads)
        if key_values is not None:
            k, v = key_values(k, v)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return mixed.transpose(1, 2).flatten(-2)

    def rotate_heads(self, x: Tensor, angles: RotaryAngles | None) -> Tensor:
        """[B, H, T, D/H] from x [B, T, D], each head rotated to its positions."""
        return rotate(split_heads(x, self.heads), angles)


class Layers(NamedTuple):
    """The kinds of layer that a model is made of."""

    norm: type[RMSNorm] = RMSNorm
    attention: type[Attention] = Attention
    mlp: type[MLP] = MLP


class Block(nn.Module):
    """One layer. Sandwich norm also norms each branch before it joins the residual stream."""

    def __init__(self, shape: LoopedShape, layers: Layers = Layers()) -> None:  # noqa: B008 frozen
        super().__init__()

        def norm(wanted: bool) -> nn.Module:
            return layers.norm(shape.width, eps=shape.norm_eps) if wanted else nn.Identity()

        sandwich = shape.norm == "sandwich"
        self.attention_norm = norm(True)
        self.attention = layers.attention(shape)
        self.attention_out_norm = norm(sandwich)
        self.mlp_norm = norm(True)
        experts = shape.mlp == "moe"
        self.mlp = MixtureOfExperts(shape, layers.mlp) if experts else layers.mlp(shape)
        self.mlp_out_norm = norm(sandwich)

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
        x = x + self.attention_out_norm(mixed)
        return x + self.mlp_out_norm(self.mlp(self.mlp_norm(x), routing_hook))

    def matrices(self) -> dict[Tensor, int]:
        """Its matrices but for a router, with how many lie below each other in each."""
        attention = self.attention
        found: dict[Tensor, int] = {attention.qkv.weight: 3, attention.out.weight: 1}
        for mlp in self.mlp.modules():
            if isinstance(mlp, MLP):
                found[mlp.up.weight] = 2 if mlp.gated else 1
                found[mlp.down.weight] = 1
        return found

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
