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


def arms_of(
    entry: Entry,
    phases: Sequence[Mapping[str, Any]],
    baseline: Mapping[str, Any],
    other: Entry | None = None,
) -> tuple[list[Arm], dict[str, str]]:
    """The model and its references in training of certain phases.

    References run one loop and are trained by the loss of their last state.

    Args:
        baseline: what the suite gives every model, such as its width.
        other: the model whose references they are; None: this one.

    Returns:
        The arms, the model first; and label -> reason of references that there are not.
    """
    of = other or entry
    n, core = of.config.loops, of.config.core
    mine = [merged(phase, entry.phase) for phase in phases]
    arms = [Arm(MODEL, {"training.phases": mine} if entry.phase else {})]
    if n == 1:
        named = "the model" if other is None else other.name
        return arms, dict.fromkeys(REFERENCES, f"{named} has one loop and is its own reference")
    model = _in_place_of(entry, other, baseline) if other else {}
    once: dict[str, Any] = {"objective": {"kind": "last_loop"}}
    once["training.phases"] = list(map(dict, phases))
    order = getattr(of.config, "reuse", "cycle")
    deep: dict[str, Any] = {"core": n * (core if isinstance(order, str) else len(order))}
    if order != "cycle":
        deep["reuse"] = "cycle"
    longer = {"training.phases": [stretched(phase, n) for phase in phases]}
    differ = zip(REFERENCES, (({}, {}), (deep, {}), ({}, longer)), strict=True)
    for name, (shape, training) in differ:
        arms.append(Arm(name, {"model": {**model, "loops": 1, **shape}} | once | training))
    if _parameters(of, core) == _parameters(of, deep["core"]):
        reason = f"`core` changes nothing in {of.config.kind}: it has no more layers to run"
        deepest = arms.pop(2)
        return arms, {deepest.label: reason}
    return arms, {}


def _in_place_of(entry: Entry, other: Entry, baseline: Mapping[str, Any]) -> dict[str, Any]:
    """The model of `other` as a change of a grid whose model is that of `entry`.

    Models of one kind are merged field by field, so that a field which only `entry` sets is set
    back to what it is by default.
    """
    usual = other.config.model_dump(mode="json")
    mine = {"kind": entry.config.kind, **entry.model}
    model = {"kind": usual["kind"], **other.model}
    back = {k: usual[k] for k in mine if k in usual} if mine["kind"] == model["kind"] else {}
    sized = {k: v for k, v in baseline.items() if k in usual}
    return {**back, **sized, **model}


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
