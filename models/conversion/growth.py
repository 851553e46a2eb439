"""Growth: a deeper core from copies of a trained one (upcycling, Ouro 2510.25741 §4).

With `norm_between_loops` off, no injection, and an even number of loops, stacking the core twice
and halving the loops leaves the last loop's output as it is: the same blocks run in the same
order (24 layers × 8 loops = 48 × 4). With it on, half of the norms between loops are lost.
"""

from collections.abc import Sequence
from typing import Literal

from models.looped import LoopedTransformer

Mapping = Literal["stack", "interleave"]


def growth_mapping(core: int, factor: int, mapping: Mapping) -> tuple[int, ...]:
    """The old layer that each new one copies: stack AB → ABAB, interleave AB → AABB.

    Raises:
        ValueError: factor < 2.
    """
    if factor < 2:
        raise ValueError(f"a core grows by a factor of 2 or more, got {factor}")
    if mapping == "stack":
        return tuple(range(core)) * factor
    return tuple(layer for layer in range(core) for _ in range(factor))


def origin_of(name: str, mapping: Sequence[int]) -> str:
    """The old parameter that a new one is a copy of; outside the core it has the same name."""
    part, _, rest = name.partition(".")
    if part != "core":
        return name
    layer, _, inner = rest.partition(".")
    return f"core.{mapping[int(layer)]}.{inner}"


def grow(
    model: LoopedTransformer,
    mapping: Mapping = "stack",
    *,
    factor: int = 2,
    loops: int | None = None,
) -> LoopedTransformer:
    """A model whose core has `factor` times the layers, every one a copy; all else is kept.

    Args:
        loops: of the new model; default: those of the old.

    Raises:
        ValueError: factor < 2, or an explicit reuse pattern, which names the old layers.
    """
    config = model.config
    if isinstance(config.reuse, tuple):
        raise ValueError(
            f"growth cannot go with reuse {list(config.reuse)}, which names the layers; "
            "cycle and sequence can"
        )
    origin = growth_mapping(config.core, factor, mapping)
    loops = config.loops if loops is None else loops
    rows = config.loop_limit
    fields = config.model_dump() | {"core": len(origin), "loops": loops, "loop_rows": rows}
    shape = type(config).model_validate(fields)
    grown = type(model)(shape, model.vocabulary_size, gate=model.gate is not None)
    old = model.state_dict()
    grown.load_state_dict({name: old[origin_of(name, origin)] for name in grown.state_dict()})
    grown.halting = model.halting
    device = next(model.parameters()).device
    return grown.to(device, next(model.parameters()).dtype).train(model.training)
