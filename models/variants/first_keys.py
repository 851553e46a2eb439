"""Keys and values of the first loop serve all loops: a cache that is as small as that of one.

Legend: B documents, T tokens, H heads, D width.
"""

from typing import ClassVar, Literal

from torch import Tensor

from models.config import LoopedConfig
from models.forward_pass import Pass
from models.hooks import KeyValueSource
from models.looped import LoopedTransformer
from models.shape import BlockCall


class FirstKeys(LoopedConfig):
    """Every run of a core layer attends to the keys and values of the layer's first run.

    Recursive key-value sharing of Mixture of Recursions (2507.10524, §2.2.2), without its router:
    later loops bring queries alone, a token sees itself as it was in loop 1 too. Trained so, a
    model decodes the same with one pair of key and value per token and layer as with all. It
    cannot read at one token what a loop wrote at another: four loops composed no more hops than
    one (grid `caches_trained`). Weights are those of the plain model, so that one can be
    trained on as the other. Keys and values of later loops are computed and dropped, so that
    FLOPs are those of the plain model.
    """

    kind: Literal["first-keys"] = "first-keys"  # pyrefly: ignore

    @staticmethod
    def model_type() -> type[LoopedTransformer]:
        return FirstKeysTransformer


class FirstRun:
    """Hands out what a core layer's first call brought, to the cache too, if there is one."""

    def __init__(self, source: KeyValueSource | None) -> None:
        self.source = source
        #: layer -> keys and values [B, H, T, D/H] of its first call
        self.first: dict[int, tuple[Tensor, Tensor]] = {}

    def attend(self, call: BlockCall, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if call.part == "core":
            k, v = self.first.setdefault(call.layer, (k, v))
        return (k, v) if self.source is None else self.source.attend(call, k, v)

    def keep_rows(self, rows: Tensor) -> None:
        """Goes on with the documents `rows`, int64[b] or bool[B], alone."""
        self.first = {layer: (k[rows], v[rows]) for layer, (k, v) in self.first.items()}


class FirstKeysPass(Pass):
    """A pass whose core layers see the keys of their first run."""

    def begin(self, x: Tensor) -> Tensor:
        if max(self.calls) > 1 or self.model.config.reuse != "cycle":  # a layer runs again
            self.key_values: KeyValueSource | None = FirstRun(self.key_values)
            self.sparse = None  # which computes keys by itself
        return super().begin(x)

    def keep_rows(self, rows: Tensor) -> None:
        super().keep_rows(rows)
        if isinstance(self.key_values, FirstRun):
            self.key_values.keep_rows(rows)


class FirstKeysTransformer(LoopedTransformer):
    """A looped transformer of `FirstKeys`."""

    pass_type: ClassVar[type[Pass]] = FirstKeysPass
    config: FirstKeys  # pyrefly: ignore
