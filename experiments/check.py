"""What can be known to be wrong with a run before it starts, beyond the types of its fields."""

from collections.abc import Iterator
from functools import cache

from experiments.config import PhaseError, RunConfig, spans
from experiments.loading import Location
from generators.task import Task
from probes.probe import Probe


def problems(config: RunConfig) -> Iterator[tuple[Location, str]]:
    """(location in the config, what is wrong)."""
    try:
        spans(config.training, config.task.items_per_exposure)
    except PhaseError as error:
        yield error.location, error.message
    longest, context = config.task.context_length, config.model.context
    if context is not None and longest > context:
        message = (
            f"documents of task {config.task.kind} have up to {longest} tokens, more than the "
            f"context of {context}; raise model.context or leave it out"
        )
        yield ("model", "context"), message
    for i, phase in enumerate(config.training.phases):
        if phase.weights is not None:
            message = f"task {config.task.kind} has no components to weigh"
            yield ("training", "phases", str(i), "weights"), message
    task = config.task
    observe = config.observe
    for name, probes in (("probes", observe.probes), ("evaluate_with", observe.evaluate_with)):
        for i, probe in enumerate(probes or ()):
            message = _misfit(
                type(probe), probe.model_dump_json(), type(task), task.model_dump_json()
            )
            if message is not None:
                yield ("observe", name, str(i)), message


@cache
def _misfit(probe_class: type[Probe], probe: str, task_class: type[Task], task: str) -> str | None:
    """Why a probe cannot measure a task, None if it can; asked once for equal ones."""
    try:
        probe_class.model_validate_json(probe).check(task_class.model_validate_json(task))
    except ValueError as error:
        return str(error)
    return None
