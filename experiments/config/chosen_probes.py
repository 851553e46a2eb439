"""Which probes measure a run, and what they measure of its task."""

from collections.abc import Iterable
from functools import cache

from experiments.config.run import RunConfig
from generators.plugins import choices, path_of
from generators.task import Task
from models.config import LoopedConfig
from probes.accuracy import Accuracy
from probes.probe import Probe


def chosen_probes(config: RunConfig, task: Task) -> tuple[Probe, ...]:
    """The probes a config names, or every default one that applies and needs no settings."""
    if config.observe.probes is not None:
        return config.observe.probes
    return _default_probes(task, isinstance(config.model, LoopedConfig))


def _default_probes(task: Task, shows_inside: bool) -> tuple[Probe, ...]:
    return tuple(
        cls()  # pyrefly: ignore
        for cls in choices(Probe, "probes").values()
        if issubclass(cls, Probe)
        and cls.by_default
        and (shows_inside or not cls.looks_inside)
        and not any(field.is_required() for field in cls.model_fields.values())
        and any(map(cls.applies, task.parts.values()))
    )


@cache
def _by_default(task_class: type[Task], task_json: str, shows_inside: bool) -> tuple[Probe, ...]:
    """`_default_probes`, found once for equal tasks."""
    return _default_probes(task_class.model_validate_json(task_json), shows_inside)


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


def measures(
    config: RunConfig,
    *kinds: str,
    in_training: bool = False,
    split: str | None = None,
    difficulty: int | tuple[int, ...] | None = None,
) -> bool:
    """Whether a run is measured by a probe of one of these kinds, from its config alone.

    Probes from a file of the user's own count as such a probe, since what they find is not known.

    Args:
        in_training: in its evaluations during training rather than at its end.
        split, difficulty: of the questions; one of several difficulties will do, None: any.
    """
    task, observe = _small(type(config.task), config.task.model_dump_json()), config.observe
    if in_training:
        chosen = observe.evaluate_with or ((Accuracy(),) if observe.evaluate_every else ())
    elif observe.probes is None:
        chosen = _by_default(*task, isinstance(config.model, LoopedConfig))
    else:
        chosen = observe.probes
    wanted = (difficulty,) if isinstance(difficulty, int) else difficulty
    own = any(path_of(type(probe)) for probe in chosen)
    return own or any(
        _reads(type(probe), probe.model_dump_json(), *task, split, wanted)
        for probe in chosen
        if probe.kind in kinds
    )


@cache
def _small(task_class: type[Task], task_json: str) -> tuple[type[Task], str]:
    """A sketch of a task, which many tasks of a grid may share."""
    small = task_class.model_validate_json(task_json).sketch()
    return type(small), small.model_dump_json()


@cache
def _reads(
    probe_class: type[Probe],
    probe_json: str,
    task_class: type[Task],
    task_json: str,
    split: str | None,
    difficulties: tuple[int, ...] | None,
) -> bool:
    """Whether a probe applies to a task and asks questions of this split and difficulty."""
    probe = probe_class.model_validate_json(probe_json)
    task = task_class.model_validate_json(task_json)
    for part in task.parts.values():
        asked: Iterable[str] = getattr(probe, "splits", None) or part.splits
        asked = [probe.split] if hasattr(probe, "split") else asked  # pyrefly: ignore
        found = [s for s in asked if split in (None, s)]
        known = {d for s in found for d in part.difficulties_of(s)}
        known &= set(getattr(probe, "difficulties", None) or known)
        fits = difficulties is None or not known.isdisjoint(difficulties)
        if found and fits and probe_class.applies(part):
            return True
    return False
