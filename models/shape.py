"""The shape of a model: its fields, the order in which its blocks run, its labels; no torch needed.

A core of k layers run n times is written k⊗n (2510.25741 §6.2). Around it there may be a
prelude and a coda that run once (Huginn, 2502.05171).
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.sizes import shape_of


class ModelShape(BaseModel):
    """What every model has: a core of layers that runs so many loops."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    #: whether the states between loops can be read and replaced, at `loop_hooks`
    hooks: ClassVar[bool] = False

    kind: str
    width: int = Field(ge=1, description="size of the state between loops")
    core: int = Field(1, ge=1, description="layers that are looped: the k of k⊗n")
    loops: int = Field(1, ge=1, description="times they run: the n of k⊗n")

    @property
    def layers(self) -> int:
        """Stored layers, those outside the loop included."""
        return self.core

    @property
    def draws_noise(self) -> bool:
        """Whether a training step draws random numbers inside the model."""
        return False

    @property
    def label(self) -> str:
        """`2⊗4`, and what else there is."""
        return f"{self.core}⊗{self.loops}"

    def states(self, n_loops: int | None = None) -> int:
        """States that a pass of so many loops has."""
        return self.loops if n_loops is None else n_loops

    def loop_hooks(self, n_loops: int | None = None) -> dict[int, str]:
        """Loop -> name of the hook at the state that it leaves behind; 0: what enters the first.

        Empty without `hooks`.
        """
        return {t: f"loop.{t}" for t in range(self.states(n_loops) + 1)} if self.hooks else {}


class BlockCall(NamedTuple):
    """One application of one block. `loop` is 1-based; 0 for the prelude.

    A coda call carries the loop whose state it reads. `repeat` counts, from 1, how often a core
    layer has run within its loop; more than once only where `reuse` says so.
    """

    part: Literal["prelude", "core", "coda"]
    layer: int
    loop: int
    repeat: int = 1

    @property
    def name(self) -> str:
        """Hook name of the residual stream after this call, such as `core.0.loop.2`."""
        again = f".repeat.{self.repeat}" if self.repeat > 1 else ""
        return f"{self.part}.{self.layer}.loop.{self.loop}{again}"


class LoopedShape(ModelShape):
    """The shape of a looped transformer: prelude, core ⊗ loops, coda."""

    hooks: ClassVar[bool] = True
    #: what a variant cannot do (`stack`, `compile`, `loop_map`) -> why
    refuses: ClassVar[Mapping[str, str]] = {}
    #: what has weights of its own in every loop
    looped_by: ClassVar[str] = "loop_embedding learned"

    width: int = Field(64, ge=1, description="size of the residual stream")
    heads: int = Field(2, ge=1, description="attention heads of a layer")
    reuse: Literal["cycle", "sequence"] | tuple[int, ...] = Field(
        "cycle",
        description="order of the core's layers: cycle runs AB AB, sequence AA BB (one state, "
        "after the last), a list such as [0, 1, 1] is the order within every loop",
    )
    prelude: int = Field(0, ge=0, description="layers before the loop")
    coda: int = Field(0, ge=0, description="layers between the looped state and the head")
    norm: Literal["pre", "sandwich", "post", "deepnorm"] = Field(
        "sandwich",
        description="RMSNorms before attention and MLP, or (sandwich) on their outputs too, or "
        "(post, deepnorm) on their sums with the state, which deepnorm weighs",
    )
    qk_norm: bool = Field(False, description="RMSNorms of the queries and keys of each head")
    residual_scale: float | None = Field(
        None, gt=0, description="λ of λ/(N√L), by which layers of the core add less; None: fully"
    )
    layer_scale: float | None = Field(
        None, gt=0, description="start of a vector that multiplies what attention and MLP add"
    )
    norm_between_loops: bool = Field(
        True, description="feed the normed state to the next loop, as Ouro does"
    )
    injection: Literal["none", "once", "add", "concat", "diagonal", "gated"] = Field(
        "none",
        description="the loop's input, normed, joins the state before every loop: concat projects "
        "both, diagonal lets every channel decay (Parcae), gated replaces a learned share; once: "
        "before the first loop alone; none: it is the first state, and not normed",
    )
    initial_state: Literal["zero", "prelude", "noise", "learned"] | None = Field(
        None,
        description="state before the first loop, other than prelude only with injection; noise "
        "is drawn while training; None: zero with injection, prelude without",
    )
    loop_embedding: Literal["none", "learned", "sinusoidal"] = Field(
        "none", description="added to the state before every loop: which loop it is"
    )
    loop_rows: int | None = Field(
        None, ge=1, description="most loops of a learned loop embedding; None: loops"
    )
    mlp: Literal["swiglu", "gelu", "moe"] = Field("swiglu", description="moe: SwiGLU experts")
    mlp_hidden: int | None = Field(
        None, ge=1, description="None: 8/3 width for swiglu and each expert, 4 width for gelu"
    )
    experts: int = Field(4, ge=1, description="of a mixture of experts")
    experts_per_token: int = Field(1, ge=1, le=2, description="of a mixture: top-1 or top-2")
    balance: float = Field(0.01, ge=0, description="weight of a mixture's load-balancing loss")
    positions: Literal["rope", "rope-quarter", "learned", "none"] = Field(
        "rope", description="rope-quarter turns a quarter of each head; learned needs `context`"
    )
    rope_base: float = Field(
        10_000.0, gt=1, description="base of the rotary positions' wavelengths"
    )
    context: int | None = Field(
        None, ge=1, description="most tokens of a document; None: as many as the task writes"
    )
    tied: bool = Field(False, description="output head shares the embedding matrix")
    norm_eps: float = Field(1e-6, gt=0, description="added to the mean square in every RMSNorm")
    zero_init: bool = Field(
        False, description="every block starts as the identity: its output projections at zero"
    )

    @model_validator(mode="before")
    @classmethod
    def _named_size(cls, fields: Any) -> Any:
        """Fills in the shape of a named size; a field that is given wins."""
        if not isinstance(fields, dict) or "size" not in fields:
            return fields
        given = {name: value for name, value in fields.items() if name != "size"}
        return {**shape_of(fields["size"]), **given}

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for wrong in (*impossible(self), *self.misfits()):
            raise ValueError(wrong)
        return self

    @property
    def hidden(self) -> int:
        """Hidden size of the MLP, or of each expert."""
        if self.mlp_hidden is not None:
            return self.mlp_hidden
        return 4 * self.width if self.mlp == "gelu" else 8 * self.width // 3

    @property
    def layers(self) -> int:
        """Stored layers: prelude + core + coda."""
        return self.prelude + self.core + self.coda

    @property
    def label(self) -> str:
        """`2⊗4`, with prelude and coda as `1+2⊗4+1`."""
        core = f"{self.core}⊗{self.loops}"
        return f"{self.prelude}+{core}+{self.coda}" if self.prelude or self.coda else core

    @property
    def injects(self) -> bool:
        """Whether something joins the state before every loop."""
        return self.injection != "none" or self.loop_embedding != "none"

    @property
    def draws_noise(self) -> bool:
        """Whether a training step draws random numbers inside the model."""
        return self.initial_state == "noise"

    @property
    def embedded_loops(self) -> int | None:
        """Rows of a learned loop embedding; None: there is none."""
        if self.loop_embedding != "learned":
            return None
        return self.loops if self.loop_rows is None else self.loop_rows

    @property
    def loop_limit(self) -> int | None:
        """Loops for which there are weights, and no more; None: the loops are all alike."""
        return self.embedded_loops

    @property
    def rotary_size(self) -> int:
        """Dimensions of each head that are turned by position; 0 without rotary positions."""
        head = self.width // self.heads
        return {"rope": head, "rope-quarter": head // 4}.get(self.positions, 0)

    def misfits(self) -> Iterator[str]:
        """What a variant does not go with, each naming the settings and the reason."""
        yield from ()

    def extra_parameters(self) -> dict[str, int]:
        """Parameters of a variant's own parts."""
        return {}

    def extra_flops(self, vocabulary_size: int, context: int, loops: int) -> int:
        """Forward FLOPs that a variant adds to prelude and loops of a document of `context`."""
        return 0

    def states(self, n_loops: int | None = None) -> int:
        """States that a pass of so many loops has; `sequence` finishes no layer before its end."""
        loops = self.loops if n_loops is None else n_loops
        return 1 if self.reuse == "sequence" else loops

    def schedule(self, n_loops: int | None = None) -> tuple[BlockCall, ...]:
        """Block calls in order, without coda (it hangs off the loop whose logits are asked for).

        The `loop` of a core call is the state it leads to. Patterns: Virtual Logical Depth,
        2506.18233.
        """
        loops = self.loops if n_loops is None else n_loops
        prelude = tuple(BlockCall("prelude", i, 0) for i in range(self.prelude))
        match self.reuse:
            case "cycle":
                order = tuple(range(self.core))
            case "sequence":
                order = tuple(i for i in range(self.core) for _ in range(loops))
            case order:
                pass
        repeats = [order[: at + 1].count(layer) for at, layer in enumerate(order)]
        core = (
            BlockCall("core", layer, t, repeat)
            for t in range(1, self.states(loops) + 1)
            for layer, repeat in zip(order, repeats, strict=True)
        )
        return prelude + tuple(core)

    def loop_hooks(self, n_loops: int | None = None) -> dict[int, str]:
        """Those of the last block call of every loop, before the final norm."""
        return {0: "embed"} | {call.loop: call.name for call in self.schedule(n_loops)}

    def hook_names(self, n_loops: int | None = None) -> set[str]:
        """Names of the hook points of a pass of so many loops, its coda included."""
        loops = range(1, self.states(n_loops) + 1)
        coda = (BlockCall("coda", i, t) for i in range(self.coda) for t in loops)
        calls = {call.name for call in (*self.schedule(n_loops), *coda)}
        return {"embed", *calls, *(f"state.loop.{t}" for t in loops)}

    def check_loops(self, loops: int, backprop_loops: int | None = None) -> None:
        """Raises ValueError where a pass cannot run or differentiate so many loops."""
        if loops < 1:
            raise ValueError(f"n_loops must be 1 or more, got {loops}")
        if self.loop_limit is not None and loops > self.loop_limit:
            raise ValueError(
                f"n_loops {loops} is more than the {self.loop_limit} loop_rows of {self.looped_by}"
            )
        if backprop_loops is None:
            return
        if backprop_loops < 1:
            raise ValueError(f"backprop_loops must be 1 or more, got {backprop_loops}")
        if self.reuse == "sequence":
            raise ValueError("backprop_loops needs loops to cut between; reuse is sequence")


def impossible(shape: LoopedShape) -> Iterator[str]:
    """What no model can be, each naming the settings that do not go together."""
    width, heads, head = shape.width, shape.heads, shape.width // shape.heads
    if width % heads:
        yield f"heads must divide width: width {width} is no multiple of heads {heads}"
    elif shape.positions == "rope" and head % 2:
        yield f"rotary positions need an even head size: width {width} / heads {heads} = {head}"
    elif shape.positions == "rope-quarter" and head % 8:
        yield (
            "positions rope-quarter needs a head size that is a multiple of 8: "
            f"width {width} / heads {heads} = {head}"
        )
    if shape.norm in ("post", "deepnorm") and shape.zero_init:
        yield f"zero_init needs norm pre or sandwich: with {shape.norm} no block is the identity"
    for name in ("residual_scale", "layer_scale"):
        if shape.norm == "deepnorm" and getattr(shape, name) is not None:
            yield f"{name} needs another norm than deepnorm, which weighs the state by itself"
    if shape.positions == "learned" and shape.context is None:
        yield "positions learned needs context: how many positions there are"
    if shape.mlp == "moe" and shape.experts < shape.experts_per_token:
        yield (
            f"experts_per_token {shape.experts_per_token} is more than there are "
            f"experts: {shape.experts}"
        )
    if shape.injection == "none" and shape.initial_state not in (None, "prelude"):
        yield (
            f"initial_state {shape.initial_state} with injection none shows no loop the tokens; "
            "an injection (once, add, concat, diagonal, gated) does, prelude begins with them"
        )
    if shape.reuse == "sequence":
        for name in ("injection", "loop_embedding"):
            if getattr(shape, name) != "none":
                yield (
                    f"{name} {getattr(shape, name)} needs loops to enter; with reuse sequence "
                    "every layer runs all its loops before the next"
                )
    elif shape.reuse != "cycle" and set(shape.reuse) != set(range(shape.core)):
        yield (
            f"reuse {list(shape.reuse)} has to name each of the core's {shape.core} layers, "
            f"0 to {shape.core - 1}, and no other"
        )
