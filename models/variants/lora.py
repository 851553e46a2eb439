"""Low-rank weights of every loop beside the shared ones (relaxed recursion, 2410.20672 §2.3).

Legend: D width, L loops, r rank, O outputs.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from models.config import LoopedConfig
from models.layers.block import Block, Layers
from models.looped import LoopedTransformer
from models.shape import BlockCall, LoopedShape
from models.variants.views import with_children

#: the matrices of a block that are adapted, by the module that holds them
MATRICES = {"attention": ("qkv", "out"), "mlp": ("up", "down")}


class LoRA(LoopedConfig):
    """Every matrix of a core layer is W + B_t·A_t in loop t, with A_t [r, D] and B_t [O, r].

    B begins at 0, with which it is the plain model. Loops beyond `loop_rows` have no weights of
    their own and are refused.
    """

    refuses: ClassVar = {"compile": "the matrices of a block differ by loop"}
    looped_by: ClassVar[str] = "kind lora"

    kind: Literal["lora"] = "lora"  # pyrefly: ignore
    rank: int = Field(4, ge=1, description="r of the matrices that every loop has of its own")

    @staticmethod
    def model_type() -> type[LoopedTransformer]:
        return AdaptedTransformer

    @property
    def loop_limit(self) -> int:
        return self.loops if self.loop_rows is None else self.loop_rows

    @property
    def _adapted(self) -> int:
        """Parameters of one loop's matrices in one layer."""
        return self.rank * 4 * self.width + self._of_queries

    @property
    def _of_queries(self) -> int:
        """Those of them that keys and values do not need."""
        columns = self.hidden if self.mlp == "gelu" else 2 * self.hidden
        return self.rank * (2 * self.width + self.width + columns + self.hidden + self.width)

    def misfits(self) -> Iterator[str]:
        if self.reuse == "sequence":
            yield "kind lora tells loops apart; with reuse sequence there is one"
        if self.mlp == "moe":
            yield "kind lora adapts one MLP; mlp moe has several"

    def extra_parameters(self) -> dict[str, int]:
        return {"lora": self.core * self.loop_limit * self._adapted}

    def extra_flops(self, vocabulary_size: int, context: int, loops: int) -> int:
        calls = len(self.schedule(loops)) - self.prelude if loops else 0
        return 2 * context * calls * self._adapted

    def skipped_flops(self, vocabulary_size: int, context: int, queries: int, losses: int) -> int:
        found = super().skipped_flops(vocabulary_size, context, queries, losses)
        return found + (found > 0) * 2 * (context - queries) * self._of_queries


class LowRank(nn.Module):
    """B·A·x of one matrix in one loop."""

    def __init__(self, shared: nn.Linear, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(shared.in_features, rank, bias=False)
        self.up = nn.Linear(rank, shared.out_features, bias=False)

    def start_weights(self) -> None:
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))


class Adapted(nn.Module):
    """A shared matrix with the low-rank one of a loop."""

    def __init__(self, shared: nn.Module, own: nn.Module) -> None:
        super().__init__()
        self.shared, self.own = shared, own

    @property
    def weight(self) -> Tensor:
        """W + B·A, for what multiplies by a part of it."""
        down, up = (self.own.get_parameter(f"{name}.weight") for name in ("down", "up"))
        return self.shared.get_parameter("weight") + up @ down

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(x) + self.own(x)


class AdaptedTransformer(LoopedTransformer):
    """A looped transformer whose core blocks hold a `LowRank` for each loop and matrix."""

    config: LoRA  # pyrefly: ignore

    def extend(self, shape: LoopedShape, layers: Layers) -> None:
        assert isinstance(shape, LoRA)
        for block in self.core:
            block.lora = nn.ModuleList(
                nn.ModuleDict(
                    {
                        name: LowRank(block.get_submodule(f"{part}.{name}"), shape.rank)  # pyrefly: ignore
                        for part, names in MATRICES.items()
                        for name in names
                    }
                )
                for _ in range(shape.loop_limit)
            )

    def block(self, call: BlockCall) -> Block:
        block = super().block(call)
        if call.part != "core":
            return block
        own = block.get_submodule(f"lora.{call.loop - 1}")
        parts = {}
        for part, names in MATRICES.items():
            module = block.get_submodule(part)
            adapted = {n: Adapted(module.get_submodule(n), own.get_submodule(n)) for n in names}
            parts[part] = with_children(module, **adapted)
        return with_children(block, **parts)
