"""Positions at which the states of a pass are read, and what need not be computed for them.

Keys and values come from every token, but queries, MLP and norms of a block whose output is read
at a few positions are needed at those alone. Every document gets as many queries as the one with
the most, so that they stay one dense tensor; those too many are computed and thrown away.

Legend: B documents, T tokens, Q queries of each document, M selected positions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.counts import reads_few
from models.fast.replica_axis import linear
from models.layers.block import Block
from models.outputs import Positions
from models.positions import RotaryAngles


def to_device_async(x: Tensor, device: torch.device) -> Tensor:
    """x on a device, without waiting until the device is there."""
    if x.device.type == "cpu" and device.type == "cuda":
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


@dataclass(frozen=True)
class SparseQueries:
    """Selected positions as queries per document.

    Attributes:
        flat: int64[B·Q], row·T + column of every query.
        place: int64[M], where among those each selected position stands.
        mask: bool[B, 1, Q, T], what each query sees.
        angles: rotary angles of the queries, [B, 1, Q, r/2].
    """

    flat: Tensor
    place: Tensor
    mask: Tensor
    angles: RotaryAngles | None

    @classmethod
    def of(
        cls,
        at: Positions,
        B: int,
        T: int,
        angles: RotaryAngles | None,
        mask: Tensor | None,
        device: torch.device,
    ) -> "SparseQueries | None":
        """None where so many positions are read that computing all is no dearer.

        Args:
            at: (row, column), in any order. How many queries there are decides about shapes: on
                the host that is known without waiting for a GPU.
            angles, mask: those of a whole pass over [B, T], on the device.
        """
        row, column = at
        count = torch.bincount(row, minlength=B)
        Q = int(count.max())
        if not reads_few(Q, T):
            return None
        order = row.argsort(stable=True)
        rank = torch.empty_like(row)
        rank[order] = (
            torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row[order]]
        )
        columns = torch.zeros(B, Q, dtype=torch.int64, device=row.device)
        columns[row, rank] = column
        flat = (columns + T * torch.arange(B, device=row.device)[:, None]).flatten()
        flat, place, columns = (to_device_async(x, device) for x in (flat, row * Q + rank, columns))
        return cls(flat, place, _rows(mask, columns, T), angles and _angles(angles, columns))

    def gather(self, x: Tensor) -> Tensor:
        """[B, Q, D] from x [B, T, D]."""
        B, _, D = x.shape
        return x.flatten(0, 1).index_select(0, self.flat).view(B, -1, D)

    def select(self, x: Tensor) -> Tensor:
        """[M, D] from queries x [B, Q, D]."""
        return x.flatten(0, 1).index_select(0, self.place)

    def forward_at(self, block: Block, x: Tensor, angles: RotaryAngles | None) -> Tensor:
        """[B, Q, D]: a block's output at the queries, from its whole input x [B, T, D]."""
        attention, D = block.attention, x.shape[-1]
        normed = block.attention_norm(x)
        query, key_value = attention.qkv.weight.split((D, 2 * D), dim=-2)
        q = linear(self.gather(normed), query)
        k, v = linear(normed, key_value).split(D, dim=-1)
        mixed = attention.out(attention.mix(q, k, v, (self.angles, angles), self.mask))
        return block.join(self.gather(x), mixed)


def _rows(mask: Tensor | None, columns: Tensor, T: int) -> Tensor:
    """bool[B, 1, Q, T]: the rows of a mask [B, 1, T, T]; None is causal."""
    if mask is None:
        return (torch.arange(T, device=columns.device) <= columns[..., None])[:, None]
    index = columns[:, None, :, None]
    return mask.expand(len(columns), 1, T, T).gather(2, index.expand(-1, -1, -1, T))


def _angles(angles: RotaryAngles, columns: Tensor) -> RotaryAngles:
    def chosen(x: Tensor) -> Tensor:  # [T, r/2] or [B, 1, T, r/2]
        if x.dim() == 2:
            return x[columns][:, None]
        index = columns[:, None, :, None].expand(-1, -1, -1, x.shape[-1])
        return x.gather(2, index)

    cos, sin = angles
    return chosen(cos), chosen(sin)
