"""Problems of a run that are known before it starts, beyond the types of its fields."""

import inspect
from collections.abc import Iterator
from functools import cache

from experiments.config.chosen_probes import parts_for
from experiments.config.goals import Goal
from experiments.config.phases import PhaseError, Span, spans
from experiments.config.run import RunConfig
from experiments.grid.located_yaml import Location
from experiments.grid.size_limits import impossible_sizes
from generators.mixture import Mixture
from generators.task import Task
from models.config import LoopedConfig
from models.model import BUILD
from models.objectives.objective import PositionwiseObjective
from probes.accuracy import Accuracy
from probes.probe import Misfit, Probe

#: (field of a probe or nothing, what is wrong)
Wrong = tuple[tuple[str, str], ...]


def problems(config: RunConfig) -> Iterator[tuple[Location, str]]:
    """Pairs of a location in the config and what is wrong there."""
    if sizes := list(impossible_sizes(config)):
        yield from sizes
        return  # anything else would have to build something
    try:
        found = spans(config.training, config.task)
    except PhaseError as error:
        yield error.location, error.message
    else:
        yield from _endless_warmups(found)
        yield from _late_looks(found)
    model = config.model
    longest = config.task.context_length
    context = model.context if isinstance(model, LoopedConfig) else None
    if context is not None and longest > context:
        message = (
            f"documents of task {config.task.kind} have up to {longest} tokens, more than the "
            f"context of {context}; raise model.context or leave it out"
        )
        yield ("model", "context"), message
    yield from _impossible_continuing(config)
    yield from _impossible_exits(config)
    yield from _impossible_compiling(config)
    for message in config.objective.misfits(config.model, config.max_loops):
        yield ("objective",), message
    yield from _impossible_accumulation(config)
    yield from _impossible_documents(config)
    if isinstance(model, LoopedConfig):
        yield from _impossible_growth(config, model)
    else:
        yield from _only_looped(config)
    for i in range(len(config.training.phases)):
        if isinstance(model, LoopedConfig):
            yield from _impossible_loops(config, model, i)
    observe, small = config.observe, config.task.sketch()
    known = type(small), small.model_dump_json()
    for i, phase in enumerate(config.training.phases):
        if goal := phase.until_accuracy:
            for field, message in _goal_misfits(goal.model_dump_json(), *known):
                at = ("training", "phases", str(i), "until_accuracy", *filter(None, [field]))
                yield at, message
    if observe.evaluate_every is not None and not (observe.evaluate_with or _asks(*known)):
        message = f"task {small.kind} asks no questions; name probes in observe.evaluate_with too"
        yield ("observe", "evaluate_every"), message
    for name, probes in (("probes", observe.probes), ("evaluate_with", observe.evaluate_with)):
        for i, probe in enumerate(probes or ()):
            misfits = _misfits(type(probe), probe.model_dump_json(), *known)
            for field, message in (*misfits, *_model_misfits(probe, config, small)):
                yield ("observe", name, str(i), *filter(None, [field])), message


def _impossible_continuing(config: RunConfig) -> Iterator[tuple[Location, str]]:
    """Ends of phases that depend on what another run has shown."""
    for i, phase in enumerate(config.training.phases):
        if config.continued and phase.until_exposure and isinstance(config.task, Mixture):
            message = (
                "how many documents of a mixture make an exposure depends on the phases of the "
                "run that goes on; use until_step"
            )
            yield ("training", "phases", str(i), "until_exposure"), message


def _endless_warmups(found: tuple[Span, ...]) -> Iterator[tuple[Location, str]]:
    """Phases that end before their learning rate has reached its peak."""
    for i, span in enumerate(found):
        steps, warmup = span.last_step - span.first_step, span.phase.warmup
        if warmup > steps:
            message = (
                f"warm-up of {warmup} steps in a phase of {steps}: the learning rate would end at "
                f"{steps / warmup:.2g} of its peak; ask for at most {steps}"
            )
            yield ("training", "phases", str(i), "warmup"), message


def _late_looks(found: tuple[Span, ...]) -> Iterator[tuple[Location, str]]:
    """Phases that are over before anybody looks whether they have reached their goal."""
    for i, span in enumerate(found):
        steps, goal = span.last_step - span.first_step, span.phase.until_accuracy
        if goal is not None and goal.every >= steps:
            message = (
                f"every {goal.every} steps of a phase of {steps}, which would always run to its "
                "end; look more often, or make the phase longer"
            )
            yield ("training", "phases", str(i), "until_accuracy", "every"), message


def _impossible_exits(config: RunConfig) -> Iterator[tuple[Location, str]]:
    objective = config.objective
    if objective.uses_gate and config.model.states() < config.model.loops:
        message = (
            f"objective {objective.kind} weighs the states of several loops; "
            "model.reuse sequence has one state"
        )
        yield ("objective",), message
    if not objective.trains_gate_alone:
        return
    if config.start is None:
        message = (
            f"objective {objective.kind} trains the gate alone; `start` has to name the run "
            "whose model it is for"
        )
        yield ("objective",), message
    if config.max_loops == 1:
        message = f"objective {objective.kind} compares loops; model.loops is 1"
        yield ("objective",), message


def _impossible_compiling(config: RunConfig) -> Iterator[tuple[Location, str]]:
    wanted, at = config.observe.compile_blocks, ("observe", "compile_blocks")
    if wanted == "never":
        return
    if not isinstance(config.model, LoopedConfig):
        yield at, f"{wanted} needs model kind looped, not {config.model.kind}"
    elif why := config.model.refuses.get("compile"):
        yield at, f"{wanted} with model kind {config.model.kind}: {why}"
    elif config.model.mlp == "moe":
        yield at, f"{wanted} with model.mlp moe: which expert a token takes cannot be compiled"


def _impossible_accumulation(config: RunConfig) -> Iterator[tuple[Location, str]]:
    """What parts of a batch would not add up to."""
    training, model = config.training, config.model
    if training.accumulate == 1:
        return
    at = ("training", "accumulate")
    if training.accumulate > training.batch:
        yield at, f"{training.accumulate} parts of a batch of {training.batch} documents"
    if not isinstance(config.objective, PositionwiseObjective):
        yield at, f"objective {config.objective.kind} does not say what each position loses"
    if isinstance(model, LoopedConfig) and model.mlp == "moe":
        yield at, "the load-balancing loss of model.mlp moe is one of the whole batch"
    if isinstance(model, LoopedConfig) and model.draws_noise:
        yield at, "with model.initial_state noise every part would draw its own"


def _impossible_documents(config: RunConfig) -> Iterator[tuple[Location, str]]:
    """What does not say what one document loses, where each runs loops of its own."""
    objective, model = config.objective, config.model
    for i, phase in enumerate(config.training.phases):
        if phase.draw is None or phase.draw.per == "step":
            continue
        at = ("training", "phases", str(i), "draw", "per")
        if not isinstance(objective, PositionwiseObjective):
            yield at, f"objective {objective.kind} does not say what each position loses"
        if isinstance(model, LoopedConfig) and model.mlp == "moe":
            yield at, "the load-balancing loss of model.mlp moe is one of the whole batch"


def _only_looped(config: RunConfig) -> Iterator[tuple[Location, str]]:
    """Problems of a model from elsewhere: its own, and what is asked of it that only ours does."""
    kind = config.model.kind
    try:
        inspect.signature(config.model.build).bind(2, gate=True, seed=0)
    except TypeError as error:
        name = type(config.model).__name__
        yield ("model",), f"{name}.build {BUILD}: {error}"
    for i, phase in enumerate(config.training.phases):
        for name in ("backprop_loops", "core", "growth"):
            if getattr(phase, name) is not None:
                yield ("training", "phases", str(i), name), f"needs model kind looped, not {kind}"
    if config.training.recompute:
        yield ("training", "recompute"), f"needs model kind looped, not {kind}"


def _impossible_loops(
    config: RunConfig, model: LoopedConfig, i: int
) -> Iterator[tuple[Location, str]]:
    """Problems of phase i: loops that the model or the objective does not allow."""
    phase = config.training.phases[i]
    here = ("training", "phases", str(i))
    most = phase.draw.largest if phase.draw else phase.loops or model.loops
    if model.loop_limit is not None and most > model.loop_limit:
        message = (
            f"up to {most} loops, but model.{model.looped_by} has {model.loop_limit} "
            "model.loop_rows"
        )
        yield here, message
    if phase.backprop_loops is None:
        return
    if config.objective.trains_gate_alone:
        message = f"objective {config.objective.kind} differentiates no loop"
    elif model.reuse == "sequence":
        message = "there are no loops to cut between: model.reuse is sequence"
    elif phase.backprop_loops < most and model.injection in ("none", "once"):
        message = (
            f"with model.injection {model.injection}, {phase.backprop_loops} of {most} loops leave "
            "the embedding without a gradient"
        )
    else:
        return
    yield (*here, "backprop_loops"), message


def _impossible_growth(config: RunConfig, model: LoopedConfig) -> Iterator[tuple[Location, str]]:
    """Phases whose cores do not follow from each other by copies."""
    phases = config.training.phases
    grows = [i for i, phase in enumerate(phases) if phase.core or phase.growth]
    if grows and isinstance(model.reuse, tuple):
        message = f"model.reuse {list(model.reuse)} names the layers; a core of them cannot grow"
        yield ("training", "phases", str(grows[0])), message
        return
    if grows and (model.residual_scale is not None or model.norm == "deepnorm"):
        by = "norm deepnorm" if model.norm == "deepnorm" else "residual_scale"
        message = f"model.{by} weighs layers by how many run, which a growing core would change"
        yield ("training", "phases", str(grows[0])), message
    before: int | None = None  # layers of the run that training starts from, known later
    for i, phase in enumerate(phases):
        here = ("training", "phases", str(i))
        core = model.core if phase.core is None else phase.core
        if phase.core is not None and (phase.core >= model.core or i == len(phases) - 1):
            message = (
                f"has to be less than model.core {model.core}, to which a later phase has to "
                f"grow; got {phase.core}"
            )
            yield (*here, "core"), message
        elif i == 0:
            if phase.growth is not None and config.start is None:
                message = "in the first phase there is nothing to copy unless `start` names a run"
                yield (*here, "growth"), message
        elif (phase.growth is not None) != (core != before) or core % (before or 1):
            message = (
                f"the core has {before} layers in the phase before and {core} in this one; "
                "growth (stack or interleave) makes a multiple of them, and goes with no other step"
            )
            yield here, message
        before = core


@cache
def _asks(task_class: type[Task], task: str) -> bool:
    """Whether a task asks questions; found once for equal ones."""
    parts = task_class.model_validate_json(task).parts.values()
    return any(map(Accuracy.applies, parts))


def _model_misfits(probe: Probe, config: RunConfig, task: Task) -> Wrong:
    """Problems of a probe that cannot see in this model what it looks at."""
    objective = config.canonical().objective
    try:
        for part in parts_for(probe, task).values():
            probe.check_model(config.model, part, objective)
    except ValueError as error:
        return _wrong(error)
    return ()


@cache
def _goal_misfits(goal: str, task_class: type[Task], task: str) -> Wrong:
    """Problems of a goal that a task cannot be asked about, found once for equal ones."""
    return tuple(
        Goal.model_validate_json(goal).misfits(task_class.model_validate_json(task).bind(0))
    )


@cache
def _misfits(probe_class: type[Probe], probe: str, task_class: type[Task], task: str) -> Wrong:
    """Problems of a probe that cannot measure a task, found once for equal ones."""
    asked = probe_class.model_validate_json(probe)
    try:
        for part in parts_for(asked, task_class.model_validate_json(task)).values():
            asked.check(part)
    except ValueError as error:
        return _wrong(error)
    return ()


def _wrong(error: ValueError) -> Wrong:
    return error.problems if isinstance(error, Misfit) else (("", str(error)),)
