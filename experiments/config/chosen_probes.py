"""Which probes measure a run, and what they measure of its task."""

from experiments.config.run import RunConfig
from generators.plugins import choices
from generators.task import Task
from models.config import LoopedConfig
from probes.accuracy import Accuracy
from probes.probe import Probe


def chosen_probes(config: RunConfig, task: Task) -> tuple[Probe, ...]:
    """The probes a config names, or every default one that applies and needs no settings."""
    if config.observe.probes is not None:
        return config.observe.probes
    return tuple(
        cls()  # pyrefly: ignore
        for cls in choices(Probe, "probes").values()
        if issubclass(cls, Probe)
        and cls.by_default
        and (isinstance(config.model, LoopedConfig) or not cls.looks_inside)
        and not any(field.is_required() for field in cls.model_fields.values())
        and any(map(cls.applies, task.parts.values()))
    )


def evaluation_probes(config: RunConfig, task: Task) -> tuple[Probe, ...]:
    """The probes of evaluations during training, none where there are none.

    Where a config names only their rhythm it is accuracy, of a task that asks questions.
    """
    observe = config.observe
    if observe.evaluate_every is None or observe.evaluate_with:
        return observe.evaluate_with
    return (Accuracy(),) if any(map(Accuracy.applies, task.parts.values())) else ()


def parts_for(probe: Probe, task: Task) -> dict[str, Task]:
    """The components of a mixture that a probe applies to; any other task is its only part.

    Raises:
        ValueError: it applies to none of them.
    """
    fitting = {n: part for n, part in task.parts.items() if n == "" or type(probe).applies(part)}
    if not fitting:
        names = ", ".join(task.parts)
        raise ValueError(f"probe {probe.kind} applies to none of the components {names}")
    return fitting
