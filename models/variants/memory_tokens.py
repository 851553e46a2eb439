"""Memory tokens: learned tokens before every document, which all of its tokens see.

Legend: B documents, T tokens, S tokens that are seen, D width, H heads, M memory tokens.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from models.config import LoopedConfig
from models.counts import block_flops
from models.forward_pass import Pass
from models.hooks import Hook, KeyValueSource, no_hook
from models.layers.block import Layers
from models.looped import LoopedTransformer
from models.outputs import Positions
from models.positions import causal
from models.shape import BlockCall, LoopedShape


class MemoryTokens(LoopedConfig):
    """M learned tokens stand before every document, at positions -M to -1, and run all loops.

    2604.21999 lets memory and cells of a puzzle see each other. A causal model cannot: what stood
    after the document would have to be computed anew for every token. So memory sees memory
    alone, is the same for all documents, and is computed once for a batch (`train_flops` count it
    for every document, as a longer document would). Decoding needs no room for it in the cache.
    """

    refuses: ClassVar = {"loop_map": "the memory would have to run another loop too"}

    kind: Literal["memory-tokens"] = "memory-tokens"  # pyrefly: ignore
    memory: int = Field(8, ge=1, le=4096, description="learned tokens before every document: M")

    @staticmethod
    def model_type() -> type[LoopedTransformer]:
        return MemoryTransformer

    def misfits(self) -> Iterator[str]:
        if self.coda:
            yield "kind memory-tokens with coda: a coda reads the tokens of the document alone"

    def extra_parameters(self) -> dict[str, int]:
        return {"memory": self.memory * self.width}

    def kept_values(self, vocabulary_size: int, context: int, loops: int) -> int:
        """Among them the keys and values of the memory, beside those of every document."""
        calls = len(self.schedule(loops)) if loops else self.prelude
        found = super().kept_values(vocabulary_size, context + self.memory, loops)
        return found + calls * self.memory * 2 * self.width

    def extra_flops(self, vocabulary_size: int, context: int, loops: int) -> int:
        M, calls = self.memory, len(self.schedule(loops)) if loops else self.prelude
        entered = {"concat": 4, "gated": 4, "diagonal": 2}.get(self.injection, 0) * self.width**2
        own = M * (calls * block_flops(self, M) + loops * entered)
        return own + calls * context * 4 * M * self.width

    def skipped_flops(self, vocabulary_size: int, context: int, queries: int, losses: int) -> int:
        """The memory tokens, which all documents of a batch share; every block is at all tokens."""
        return self.extra_flops(vocabulary_size, 0, self.loops)


class Recorder:
    """Keys and values of the memory tokens, by block call."""

    def __init__(self) -> None:
        self.found: dict[BlockCall, tuple[Tensor, Tensor]] = {}

    def attend(self, call: BlockCall, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        self.found[call] = (k, v)
        return k, v


class Remembered:
    """Those of a document, after those of the memory, which all its documents share."""

    def __init__(self, recorder: Recorder, source: KeyValueSource | None) -> None:
        self.recorder, self.source = recorder, source

    def attend(self, call: BlockCall, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.source is not None:
            k, v = self.source.attend(call, k, v)
        first = self.recorder.found[call]
        both = zip(first, (k, v), strict=True)
        k, v = (torch.cat((m.repeat_interleave(len(x) // len(m), 0), x), -2) for m, x in both)
        return k, v


class MemoryOnly(Pass):
    """The pass of the memory tokens by themselves."""

    model: "MemoryTransformer"  # pyrefly: ignore

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        return self.model.memory(tokens)


class MemoryPass(Pass):
    """A pass in which every query sees the memory tokens too."""

    def __init__(
        self,
        model: "MemoryTransformer",
        tokens: Tensor,
        loops: int,
        positions: Tensor,
        mask: Tensor | None = None,
        hook: Hook = no_hook,
        key_values: KeyValueSource | None = None,
        read: Positions | None = None,
    ) -> None:
        weight, device = model.memory.weight, tokens.device
        M = weight.shape[-2]
        rows = weight.shape[0] if weight.dim() == 3 else 1  # models that are trained together
        ids = torch.arange(M, device=device).expand(rows, M)
        before, recorder = torch.arange(-M, 0, device=device), Recorder()
        self.memory = MemoryOnly(model, ids, loops, before, key_values=recorder)
        mask = causal(tokens.shape[1], device) if mask is None else mask
        mask = torch.cat((mask.new_ones(*mask.shape[:-1], M), mask), dim=-1)
        seen = Remembered(recorder, key_values)
        super().__init__(model, tokens, loops, positions, mask, hook, seen, read)

    def loop(self, number: int, *, recompute: bool = False) -> Tensor:
        self.memory.loop(number)
        return super().loop(number, recompute=recompute)


class MemoryTransformer(LoopedTransformer):
    """A looped transformer with an embedding of memory tokens."""

    config: MemoryTokens  # pyrefly: ignore
    pass_type: ClassVar[type[Pass]] = MemoryPass

    def extend(self, shape: LoopedShape, layers: Layers) -> None:
        assert isinstance(shape, MemoryTokens)
        self.memory = nn.Embedding(shape.memory, shape.width)
