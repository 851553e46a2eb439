"""Keys and values of the tokens so far, and what of them the loops share.

Every layer of the core gives a token one pair of key and value per loop. `CacheSettings` says
which of them decoding keeps. Whatever is shared, a token sees itself as it is in its current
loop; the settings decide what it sees of the tokens before it.

The core's layers share; the prelude runs once, and the coda keeps a slot for every loop that is
read.

Legend: B documents, b of them active, H heads, T new tokens, S tokens before them, n loops.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.shape import BlockCall

if TYPE_CHECKING:
    from torch import Tensor

#: a layer, and which of its applications within a loop: a call without its loop
Layer = BlockCall

Sharing = Literal["full", "last-loop", "first-loop", "average"]


class CacheSettings(BaseModel):
    """What is kept of a token, and how the prompt is read.

    The published default (Ouro, 2510.25741 §5) is a parallel prefill with nothing shared, of
    which decoding then keeps what `sharing` needs. Sharing inside a parallel prefill is possible
    for the first loop alone: while all tokens are in loop 1, no later loop exists yet. Under the
    serial rule each token finishes all its loops before the next one starts, so that every
    sharing is possible inside the prompt too, at the price of reading it token by token.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sharing: Sharing = Field("full", description="full: every loop has keys of its own")
    prefill: Literal["full", "shared", "serial"] = Field(
        "full", description="full: in parallel, nothing shared; shared: in parallel; serial"
    )

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        if self.prefill == "shared" and self.sharing in ("last-loop", "average"):
            raise ValueError(
                f"sharing {self.sharing} cannot go with prefill shared: while a prompt is read in "
                "parallel, its later loops do not exist yet; use prefill serial (or full), or "
                "sharing first-loop"
            )
        return self

    def slots(self, loops: int) -> int:
        """Pairs of key and value that a layer of the core keeps of a token."""
        return loops if self.sharing == "full" else 1

    def bytes_per_token(self, *, layers: int, loops: int, width: int, itemsize: int = 4) -> int:
        """What the core's layers keep of one token."""
        return 2 * layers * self.slots(loops) * width * itemsize


def _layer(call: BlockCall) -> Layer:
    return call._replace(loop=0)


class KeyValueCache:
    """Keys and values of one pass after another, each over new columns of some documents.

    Args:
        documents, columns: rows and columns there will be at most.
        coda_loops: loops at which the coda is read.
    """

    def __init__(
        self,
        settings: CacheSettings,
        documents: int,
        columns: int,
        loops: int,
        coda_loops: Sequence[int],
    ) -> None:
        self.settings = settings
        self.documents, self.columns = documents, columns
        self.loops, self.coda_loops = loops, tuple(coda_loops)
        #: layer -> keys and values that are kept, [2, slots, B, H, columns, D/H]
        self._kept: dict[Layer, Tensor] = {}
        #: layer -> those of the pass in progress, of every loop, [2, slots, B, H, T, D/H]
        self._fresh: dict[Layer, Tensor] = {}

    @property
    def nbytes(self) -> int:
        """Size of what is kept."""
        return sum(kept.nbytes for kept in self._kept.values())

    def begin(self, rows: "Tensor", column: int, *, parallel: bool = False) -> None:
        """Starts a pass over the documents `rows`, int64[b], whose first new column is `column`.

        Args:
            parallel: it reads a whole prompt, before which there is nothing.
        """
        import torch

        self._fresh = {}
        everything = torch.arange(self.documents, device=rows.device)
        # a slice copies nothing and writes in place, where a list of all documents would
        self._rows = slice(None) if torch.equal(rows, everything) else rows
        self._active, self._chosen = rows, self._rows
        self._column, self._parallel = column, parallel

    def keep_rows(self, rows: "Tensor") -> None:
        """Goes on with some of the active documents, int64[m] or bool[b]; the others have left."""
        before = len(self._active)
        self._active = self._active[rows]
        if len(self._active) < before:
            self._chosen = self._active

    def attend(self, call: BlockCall, k: "Tensor", v: "Tensor") -> tuple["Tensor", "Tensor"]:
        """Keys and values of the tokens before, followed by those of the new ones."""
        import torch

        own = torch.stack((k, v))
        layer, slot, slots = _layer(call), *self._slot(call)
        if layer not in self._fresh:
            shape = (2, slots, self.documents, *k.shape[1:])
            self._fresh[layer] = own.new_zeros(shape)
        # in deeper loops too: should the token leave now, this is what is seen of it there
        self._fresh[layer][:, slot:, self._chosen] = own[:, None]
        before = self._before(call, slot, own)
        if before is not None:
            k, v = torch.cat((before, own), dim=-2)
        return k, v

    def _slot(self, call: BlockCall) -> tuple[int, int]:
        """Slot of a call, and how many its layer fills while a token is computed."""
        if call.part == "core":
            return call.loop - 1, self.loops
        if call.part == "coda":
            return self.coda_loops.index(call.loop), len(self.coda_loops)
        return 0, 1

    def _before(self, call: BlockCall, slot: int, own: "Tensor") -> "Tensor | None":
        """[2, b, H, S, D/H] of the tokens before; None where the new ones see only each other."""
        if self._parallel:
            if self.settings.prefill != "shared":
                return None
            return self._fresh[_layer(call)][:, 0, self._chosen] if call.part == "core" else own
        kept = self._kept.get(_layer(call))
        if kept is None:
            return None
        slot = min(slot, kept.shape[1] - 1)  # a shared slot serves every loop
        return kept[:, slot, self._chosen, :, : self._column]

    def end(self) -> None:
        """Keeps of the new tokens what the settings ask for."""
        rows = self._rows
        for layer, fresh in self._fresh.items():
            new = fresh[:, :, rows]
            if layer.part == "core":
                new = self._shared(new)
            if layer not in self._kept:
                size = (2, new.shape[1], self.documents, new.shape[3], self.columns, new.shape[5])
                self._kept[layer] = new.new_zeros(size)
            stop = self._column + new.shape[4]
            self._kept[layer][:, :, rows, :, self._column : stop] = new
        self._fresh = {}

    def _shared(self, new: "Tensor") -> "Tensor":
        """[2, slots, …] from the keys and values of every loop, [2, n, …]."""
        match self.settings.sharing:
            case "full":
                return new
            case "first-loop":
                return new[:, :1]
            case "last-loop":
                return new[:, -1:]
            case "average":
                return new.mean(1, keepdim=True)

    def repeat(self, samples: int) -> None:
        """Every document `samples` times, the copies next to each other."""
        self.documents *= samples
        self._kept = {k: v.repeat_interleave(samples, dim=2) for k, v in self._kept.items()}
