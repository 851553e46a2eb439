"""The models that a looped one is compared with: equal parameters, equal work, equal training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.suite.entry import Entry

MODEL = "model"
#: label of a reference -> what it shares with the model
REFERENCES = {
    "unlooped": "same parameters, one loop",
    "unlooped-deep": "same block applications: as many layers as the model runs, one loop",
    "unlooped-long": "same parameters, one loop, trained n times as long",
}
#: words of a document with which parameters are counted
WORDS = 50


@dataclass(frozen=True)
class Arm:
    """One architecture of a card, as a value of the axis `arm` of its grid.

    Attributes:
        changes: dotted path -> value.
    """

    label: str
    changes: dict[str, Any]


def arms_of(entry: Entry, phases: Sequence[Mapping[str, Any]]) -> tuple[list[Arm], dict[str, str]]:
    """The model and its references in training of certain phases.

    References run one loop and are trained by the loss of their last state.

    Returns:
        The arms, the model first; and label -> reason of references that there are not.
    """
    n, core = entry.config.loops, entry.config.core
    mine = [merged(phase, entry.phase) for phase in phases]
    arms = [Arm(MODEL, {"training.phases": mine} if entry.phase else {})]
    if n == 1:
        return arms, dict.fromkeys(REFERENCES, "the model has one loop and is its own reference")
    once: dict[str, Any] = {"model.loops": 1, "objective": {"kind": "last_loop"}}
    once["training.phases"] = list(map(dict, phases))
    order = getattr(entry.config, "reuse", "cycle")
    deep: dict[str, Any] = {"model.core": n * (core if isinstance(order, str) else len(order))}
    if order != "cycle":
        deep["model.reuse"] = "cycle"
    longer = {"training.phases": [stretched(phase, n) for phase in phases]}
    differ = zip(REFERENCES, ({}, deep, longer), strict=True)
    arms += [Arm(name, once | more) for name, more in differ]
    if _parameters(entry, core) == _parameters(entry, deep["model.core"]):
        reason = f"`core` changes nothing in {entry.config.kind}: it has no more layers to run"
        deepest = arms.pop(2)
        return arms, {deepest.label: reason}
    return arms, {}


def merged(phase: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """A phase with what the entry asks of every phase besides."""
    return {**phase, **more}


def stretched(phase: Mapping[str, Any], times: int) -> dict[str, Any]:
    """A phase that ends so many times as late.

    >>> stretched({"until_step": 300, "warmup": 100}, 4)
    {'until_step': 1200, 'warmup': 100}
    """
    ends = ("until_step", "until_exposure")
    return {k: v * times if k in ends else v for k, v in phase.items()}


def _parameters(entry: Entry, core: int) -> int:
    changes = {
        "core": core,
        "loops": 1,
        **({"reuse": "cycle"} if core != entry.config.core else {}),
    }
    known = {k: v for k, v in changes.items() if k in type(entry.config).model_fields}
    shape = entry.config.model_copy(update=known)
    return shape.count_parameters(WORDS, gate=False)["total"]
