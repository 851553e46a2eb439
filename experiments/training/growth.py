"""Growth inside a run: a phase that begins with more layers, each a copy of one before.

The optimiser goes on too: a copy takes over the moments and the step count of its origin. With
fresh moments AdamW would begin with steps of full size in every direction; whoever wants a
gentler start gives the phase a `warmup`.
"""

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from experiments.config.phases import Span
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.training.inputs import model_inputs
from experiments.training.trainer import Trainer
from models.config import LoopedConfig
from models.conversion.growth import grow, growth_mapping, origin_of
from models.interface import LoopedModel
from models.looped import LoopedTransformer


def grow_if_due(trainer: Trainer, span: Span) -> dict[str, Any] | None:
    """Brings the model into the shape of a phase that is about to begin; what that did, if it grew.

    The entry of `trainer.growths`: the step that follows, the phase, `from` and `to` (k⊗n), the
    mapping (old layer of each new one), and losses on the batch of that step right before and
    right after: `loss` of the objective and `last_loop`, the cross-entropy of the last loop.
    """
    shape = trainer.config.model_of(span.phase)
    if trainer.model.config.core != shape.core:
        return grow_into(trainer, span)
    if trainer.model.config != shape:
        trainer.model.config = trainer.measured.config = shape
    return None


def grow_into(trainer: Trainer, span: Span) -> dict[str, Any]:
    """`grow_if_due` where the cores differ.

    Raises:
        LoopscopeError: no growth leads there.
    """
    shape, how, old = trainer.config.model_of(span.phase), span.phase.growth, trainer.model
    core = old.config.core
    if (
        not isinstance(old, LoopedTransformer)
        or how is None
        or shape.core <= core
        or shape.core % core
    ):
        raise LoopscopeError(
            f"a core of {core} cannot grow to {shape.core}: it needs a multiple of its layers, and "
            "`growth: stack` or `interleave` in the phase that begins with them"
        )
    before = _losses(trainer, span, old.config.loops)
    states = trainer.optimiser.state
    moments = {name: states[p] for name, p in old.named_parameters() if p in states}
    grown = grow(old, how, factor=shape.core // core, loops=shape.loops)
    assert isinstance(shape, LoopedConfig)
    grown.config = shape
    averages = {} if trainer.average is None else trainer.average.state_dict()
    trainer.adopt(grown)
    mapping = growth_mapping(core, shape.core // core, how)
    for name, parameter in grown.named_parameters():
        if state := moments.get(origin_of(name, mapping)):
            trainer.optimiser.state[parameter] = {k: v.clone() for k, v in state.items()}
    if trainer.average is not None:
        fresh = trainer.average.state_dict()
        copies = {name: averages.get(origin_of(name, mapping), t) for name, t in fresh.items()}
        trainer.average.load_state_dict(copies)
    after = _losses(trainer, span, span.phase.loops or shape.loops)
    record = {
        "step": trainer.counters.step + 1,
        "phase": trainer.spans.index(span),
        "from": old.config.label,
        "to": shape.label,
        "mapping": list(mapping),
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
    }
    trainer.growths.append(record)
    return record


def smaller(trainer: Trainer, other: RunConfig) -> LoopedModel:
    """A model of another run's shape, untrained, that can grow to this run's first.

    Raises:
        LoopscopeError: the two differ in more than core and loops.
    """
    own = trainer.config.model_of(trainer.spans[0].phase)
    ends = own.model_dump(include={"core", "loops", "loop_rows"})
    if other.model.model_copy(update=ends) != own:
        raise LoopscopeError(
            f"the model of start {other.run_id} cannot grow to this one: they may differ in core "
            "and loops alone"
        )
    gate = trainer.objective.uses_gate
    return other.model.build(trainer.vocabulary_size, gate=gate, seed=0)


def _losses(trainer: Trainer, span: Span, loops: int) -> dict[str, float]:
    """In nats per predicted token, on the batch of the next step and with the β of its phase."""
    inputs, at, targets = model_inputs(trainer.documents(trainer.counters.step), trainer.device)
    with torch.no_grad(), trainer.precision():
        outputs = trainer.model(inputs, loops)
        loss = trainer.objective.loss(outputs, at, targets, beta=span.phase.beta).total
        last = cross_entropy(outputs.logits(at=at).float(), targets)
    return {"loss": float(loss), "last_loop": float(last)}
