"""The work that probes add to a run: documents that they read, in forward passes.

A simple estimate, for runs that train little and evaluate often: every probe reads its documents
once.
"""

from functools import cache

from experiments.config.costs import Cost, Work
from experiments.config.phases import spans
from experiments.config.run import RunConfig
from generators.task import Task
from probes.accuracy import Accuracy
from probes.probe import Probe

#: largest bytes of a world whose questions are counted; larger ones have more than anybody asks
SMALL = 2**20


def measuring_work(config: RunConfig, needed: Cost, work: Work) -> Work:
    """The work of the evaluations, of looking at goals, and of the probes at the end.

    Args:
        needed, work: those of the training, from `cost_and_work`.
    """
    every = config.observe.evaluate_every
    evaluations = 0 if every is None else -(-needed.steps // every)
    at_end, each = documents_read(config)
    # a backward pass takes as long as two forward ones
    asked = at_end + evaluations * each + _documents_of_goals(config)
    share = asked / needed.documents / 3
    return Work(flops=share * work.flops, values=share * work.values)


def documents_read(config: RunConfig) -> tuple[int, int]:
    """Documents read by the probes at the end, and by those of one evaluation."""
    task, observe = config.task, config.observe
    each = 0
    if observe.evaluate_every:
        each = _documents_of(task, observe.evaluate_with or (Accuracy(),))
    if observe.probes is not None:
        return _documents_of(task, observe.probes), each
    # of the default probes those that take time; to ask all takes as long as to plan
    people = sum(part.items_per_exposure or 0 for part in task.parts.values())
    return _documents_of(task, (Accuracy(),)) + people, each


def _documents_of_goals(config: RunConfig) -> int:
    """Documents read to see if phases have reached their goals, if none ever does."""
    found = 0
    for span in spans(config.training, config.task):
        if goal := span.phase.until_accuracy:
            looks = -(-(span.last_step - span.first_step) // goal.every)
            found += looks * _documents_of(config.task, (goal.probe,))
    return found


def _documents_of(task: Task, probes: tuple[Probe, ...]) -> int:
    """Documents that some probes read once."""
    small, parts = task.sketch(), task.parts
    known = type(small), small.model_dump_json()
    counted = task.model_dump_json() if task.world_bytes <= SMALL else None
    asked = (_read(*known, counted, type(p), p.model_dump_json()) for p in probes)
    return sum(
        n or parts[name].items_per_exposure or 0 for found in asked for name, n in found.items()
    )


@cache
def _read(
    task_class: type[Task], sketch: str, counted: str | None, probe_class: type[Probe], probe: str
) -> dict[str, int]:
    """Part of a task -> questions that a probe asks about it, 0 where it reads everything stored.

    Found once for equal arguments: large worlds have the same sketch.

    Args:
        counted: the task, where its questions are to be counted.
    """
    asked = probe_class.model_validate_json(probe)
    try:
        small = task_class.model_validate_json(sketch).bind(0)
        whole = {} if counted is None else task_class.model_validate_json(counted).bind(0).parts
        return {
            name: _questions(asked, part, whole.get(name))
            for name, part in small.parts.items()
            if type(asked).applies(part)
        }
    except Exception:  # whatever a plugin does wrong, which its worker says better
        return {}


def _questions(probe: Probe, small: Task, task: Task | None) -> int:
    """Questions that a probe asks about one part of a task; 0 where it has no `items`.

    Args:
        task: the part whose questions are counted; None: there are enough.
    """
    items = getattr(probe, "items", None)
    if not isinstance(items, int):
        return 0
    wanted = getattr(probe, "difficulties", None)
    found = 0
    for split in getattr(probe, "splits", None) or small.splits:
        for difficulty in small.difficulties_of(split) or (None,):
            if wanted is None or difficulty in wanted:
                known = None
                if task is not None and difficulty is not None:
                    known = task.count(split, difficulty)
                found += items if known is None else min(items, known)
    return found
