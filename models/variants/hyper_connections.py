"""Several residual streams between loops (hyper-connections, 2409.19606; Hyperloop, 2604.21254).

Legend: B documents, T tokens, D width, N streams, Q queries.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from models.config import LoopedConfig
from models.fast.sparse_queries import SparseQueries
from models.forward_pass import Pass
from models.layers.block import Layers
from models.layers.mlp import Routing
from models.layers.norms import Vector
from models.looped import LoopedTransformer
from models.shape import LoopedShape


class HyperConnections(LoopedConfig):
    """Every loop reads a mixture of N streams and writes what it adds into each.

    With streams S [N, D], a loop reads h = a·S, runs its blocks to y, and leaves
    S ← R·S + b·(y - h)ᵀ behind: the static form of 2409.19606 (§2.2), once a loop, as in
    Hyperloop, with a, R and b shared by all loops. All streams begin as the state before the
    first loop, R as the identity, b at 1 and a at the first stream, with which it is the plain
    model. Head, gate and exits read the mean of the streams. What is carried has no norm, so
    `norm_between_loops` is off.
    """

    kind: Literal["hyper-connections"] = "hyper-connections"  # pyrefly: ignore
    streams: int = Field(4, ge=2, description="residual streams between loops: N")
    norm_between_loops: bool = Field(
        False, description="has to be off: what is between loops are streams without a norm"
    )

    @staticmethod
    def model_type() -> type[LoopedTransformer]:
        return HyperConnectedTransformer

    def misfits(self) -> Iterator[str]:
        if self.norm_between_loops:
            yield "kind hyper-connections carries streams without a norm: norm_between_loops false"
        if self.reuse == "sequence":
            yield "kind hyper-connections lies between loops; with reuse sequence there is one"

    def extra_parameters(self) -> dict[str, int]:
        return {"streams": self.streams * (self.streams + 2)}

    @property
    def carried(self) -> int:
        return self.streams * self.width

    def kept_values(self, vocabulary_size: int, context: int, loops: int) -> int:
        mixed = (self.streams + 2) * self.width  # R·S, h and what is written
        return super().kept_values(vocabulary_size, context, loops) + context * loops * mixed

    def extra_flops(self, vocabulary_size: int, context: int, loops: int) -> int:
        return loops * context * 2 * (self.streams + 1) * self.streams * self.width


class Streams(nn.Module):
    """a, R and b."""

    def __init__(self, streams: int) -> None:
        super().__init__()
        self.read, self.write = Vector(streams), Vector(streams, 1.0)
        self.mix = Vector(streams**2)

    @torch.no_grad()
    def start_weights(self) -> None:
        N = len(self.write.weight)
        self.read.weight.copy_(torch.eye(N)[0])
        self.mix.weight.copy_(torch.eye(N).flatten())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """h [B, T, D] and R·S [B, T, N·D] of S [B, T, N·D]."""
        read, mix = self.read(x), self.mix(x)  # a row for every document, or one for all
        N = read.shape[-1]
        rows = torch.cat((read, mix), dim=-1).unflatten(-1, (N + 1, N))
        h, mixed = (rows @ x.unflatten(-1, (N, -1))).split((1, N), dim=-2)
        return h.squeeze(-2), mixed.flatten(-2)

    def written(self, mixed: Tensor, added: Tensor) -> Tensor:
        """R·S + b·addedᵀ, [B, T, N·D] as `mixed`, of added [B, T, D]."""
        return mixed + (self.write(added)[..., None] * added[..., None, :]).flatten(-2)


class HyperPass(Pass):
    """A pass that carries the streams side by side, [B, T, N·D]."""

    model: "HyperConnectedTransformer"  # pyrefly: ignore

    def begin(self, x: Tensor) -> Tensor:
        return x.repeat(1, 1, self.model.config.streams)

    def core(
        self, number: int, x: Tensor, queries: SparseQueries | None
    ) -> tuple[Tensor, list[Routing]]:
        h, mixed = self.model.streams(x)
        y, routings = super().core(number, h, queries)
        if queries is not None:
            h, mixed = queries.gather(h), queries.gather(mixed)
        return self.model.streams.written(mixed, y - h), routings

    def readout(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.model.config.streams, -1)).mean(-2)


class HyperConnectedTransformer(LoopedTransformer):
    """A looped transformer with `Streams` between its loops."""

    config: HyperConnections  # pyrefly: ignore
    pass_type: ClassVar[type[Pass]] = HyperPass

    def extend(self, shape: LoopedShape, layers: Layers) -> None:
        assert isinstance(shape, HyperConnections)
        self.streams = Streams(shape.streams)
