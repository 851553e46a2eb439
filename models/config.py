"""Shape of a looped transformer, its schedule, parameters and FLOPs; no torch needed.

A core of k layers run n times is written k⊗n (2510.25741 §6.2). Around it there may be a
prelude and a coda that run once (Huginn, 2502.05171).
"""

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from models.looped import LoopedTransformer


class BlockCall(NamedTuple):
    """One application of one block. `loop` is 1-based; 0 for the prelude.

    A coda call carries the loop whose state it reads.
    """

    part: Literal["prelude", "core", "coda"]
    layer: int
    loop: int

    @property
    def name(self) -> str:
        """Hook name of the residual stream after this call, such as `core.0.loop.2`."""
        return f"{self.part}.{self.layer}.loop.{self.loop}"


class LoopedConfig(BaseModel):
    """A looped transformer: prelude, core ⊗ loops, coda.

    The defaults follow Ouro (2510.25741 §3, checked against its published inference code):
    sandwich norm with four RMSNorms per layer, SwiGLU, RoPE, untied embeddings, and the final
    norm inside the loop, so that the normed state feeds the next loop.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: ClassVar[int] = 1

    kind: Literal["looped"] = "looped"
    width: int = Field(64, ge=1, description="size of the residual stream")
    heads: int = Field(2, ge=1)
    core: int = Field(1, ge=1, description="layers that are looped: the k of k⊗n")
    loops: int = Field(1, ge=1, description="times the core runs: the n of k⊗n")
    prelude: int = Field(0, ge=0, description="layers before the loop")
    coda: int = Field(0, ge=0, description="layers between the looped state and the head")
    norm: Literal["pre", "sandwich"] = "sandwich"
    norm_between_loops: bool = Field(
        True, description="feed the normed state to the next loop, as Ouro does"
    )
    mlp: Literal["swiglu", "gelu"] = "swiglu"
    mlp_hidden: int | None = Field(
        None, ge=1, description="None: 8/3 width for swiglu, 4 width for gelu"
    )
    rope_base: float = Field(10_000.0, gt=1)
    context: int | None = Field(
        None, ge=1, description="most tokens of a document; None: as many as the task writes"
    )
    tied: bool = Field(False, description="output head shares the embedding matrix")
    norm_eps: float = Field(1e-6, gt=0)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f"heads must divide width: width {self.width} is no multiple of heads {self.heads}"
            )
        if (self.width // self.heads) % 2:
            raise ValueError(
                "rotary positions need an even head size: "
                f"width {self.width} / heads {self.heads} = {self.width // self.heads}"
            )
        return self

    @property
    def hidden(self) -> int:
        """Hidden size of the MLP."""
        if self.mlp_hidden is not None:
            return self.mlp_hidden
        return 8 * self.width // 3 if self.mlp == "swiglu" else 4 * self.width

    @property
    def layers(self) -> int:
        """Stored layers: prelude + core + coda."""
        return self.prelude + self.core + self.coda

    @property
    def label(self) -> str:
        """`2⊗4`, with prelude and coda as `1+2⊗4+1`."""
        core = f"{self.core}⊗{self.loops}"
        return f"{self.prelude}+{core}+{self.coda}" if self.prelude or self.coda else core

    def schedule(self, n_loops: int | None = None) -> tuple[BlockCall, ...]:
        """Block calls in order, without coda (it hangs off the loop whose logits are asked for)."""
        loops = self.loops if n_loops is None else n_loops
        prelude = tuple(BlockCall("prelude", i, 0) for i in range(self.prelude))
        core = (BlockCall("core", i, t) for t in range(1, loops + 1) for i in range(self.core))
        return prelude + tuple(core)

    def iso_flop(self) -> Self:
        """The unlooped model with as many block applications: (p + k·n + c)⊗1."""
        layers = self.prelude + self.core * self.loops + self.coda
        return self.model_copy(update={"core": layers, "loops": 1, "prelude": 0, "coda": 0})

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> "LoopedTransformer":
        """The torch module with weights drawn from `seed` (stream INIT)."""
        from models.looped import LoopedTransformer

        return LoopedTransformer(self, vocabulary_size, gate=gate, seed=seed)
