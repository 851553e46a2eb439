"""Feature-wise modulation by loop: shared weights that know which loop they work in.

Legend: D width, L loops.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from models.config import LoopedConfig
from models.layers.block import Block, Layers
from models.layers.input_injection import LoopEmbedding
from models.looped import LoopedTransformer
from models.shape import BlockCall, LoopedShape
from models.variants.views import with_children

#: norms of a block whose output is modulated
NORMS = ("attention_norm", "mlp_norm")


class FiLM(LoopedConfig):
    """Every loop scales and shifts what attention and MLP of a core layer read.

    norm(x) becomes (1 + γ_t)·norm(x) + β_t, with vectors of its own for every loop, layer and
    norm (FiLM, 1709.07871, of the loop as in 2410.01405 and in parameter-golf's scales by
    timestep; there from an embedding of the time, here from a table). Both begin at 0, with which
    it is the plain model. Loops beyond `loop_rows` have no vectors and are refused.
    """

    refuses: ClassVar = {"compile": "the norms of a block differ by loop"}
    looped_by: ClassVar[str] = "kind film"

    kind: Literal["film"] = "film"  # pyrefly: ignore

    @staticmethod
    def model_type() -> type[LoopedTransformer]:
        return ModulatedTransformer

    @property
    def loop_limit(self) -> int:
        return self.loops if self.loop_rows is None else self.loop_rows

    def misfits(self) -> Iterator[str]:
        if self.reuse == "sequence":
            yield "kind film tells loops apart; with reuse sequence there is one"

    def extra_parameters(self) -> dict[str, int]:
        return {"film": self.core * len(NORMS) * 2 * self.loop_limit * self.width}


class Modulation(nn.Module):
    """γ and β of one norm, a vector for every loop."""

    def __init__(self, loops: int, width: int) -> None:
        super().__init__()
        self.scale, self.shift = LoopEmbedding(loops, width), LoopEmbedding(loops, width)

    def start_weights(self) -> None:
        for table in (self.scale, self.shift):
            nn.init.zeros_(table.weight)

    def forward(self, x: Tensor, loop: int) -> Tensor:
        return torch.addcmul(x + self.shift(loop, x), x, self.scale(loop, x))


class ModulatedNorm(nn.Module):
    """A norm as one loop sees it."""

    def __init__(self, norm: nn.Module, modulation: nn.Module, loop: int) -> None:
        super().__init__()
        self.norm, self.modulation, self.loop = norm, modulation, loop

    def forward(self, x: Tensor) -> Tensor:
        return self.modulation(self.norm(x), self.loop)


class ModulatedTransformer(LoopedTransformer):
    """A looped transformer whose core blocks hold a `Modulation` for each of `NORMS`."""

    config: FiLM  # pyrefly: ignore

    def extend(self, shape: LoopedShape, layers: Layers) -> None:
        loops = shape.loop_limit
        assert loops is not None
        for block in self.core:
            block.film = nn.ModuleDict({n: Modulation(loops, shape.width) for n in NORMS})

    def block(self, call: BlockCall) -> Block:
        block = super().block(call)
        if call.part != "core":
            return block
        film = block.get_submodule("film")
        norms = {
            name: ModulatedNorm(getattr(block, name), film.get_submodule(name), call.loop)
            for name in NORMS
        }
        return with_children(block, **norms)
