"""What measuring adds to the work of a run: documents that probes read, in forward passes.

A simple estimate, for runs that train little and look often: every probe reads its documents once.
"""

from experiments.config.chosen_probes import evaluation_probes
from experiments.config.costs import Cost, Work
from experiments.config.run import RunConfig
from generators.task import Task
from probes.accuracy import Accuracy
from probes.probe import Probe

_READ: dict[tuple[type, str, type, str], tuple[int, int]] = {}
#: bytes of a world whose questions are counted
SMALL = 2**20


def measuring_work(config: RunConfig, needed: Cost, work: Work) -> Work:
    """Of the evaluations and of the probes at the end, from that of training.

    Args:
        needed, work: as `cost_and_work` says of the training.
    """
    every = config.observe.evaluate_every
    evaluations = 0 if every is None else -(-needed.steps // every)
    at_end, each = _known(config)
    # a backward pass takes as long as two forward ones
    share = (at_end + evaluations * each) / needed.documents / 3
    return Work(flops=share * work.flops, values=share * work.values)


def _known(config: RunConfig) -> tuple[int, int]:
    """As `documents_read`, once for all runs of a grid that ask the same of the same task."""
    task, model = config.task, config.model
    asked = config.observe.model_dump_json(include={"probes", "evaluate_every", "evaluate_with"})
    key = type(task), task.model_dump_json(), type(model), asked
    if key not in _READ:
        try:
            _READ[key] = documents_read(config)
        except Exception:  # of a plugin, which its worker says better
            _READ[key] = 0, 0
    return _READ[key]


def documents_read(config: RunConfig) -> tuple[int, int]:
    """By the probes at the end, and by those of one evaluation."""
    task = config.task
    small = task.sketch().bind(0)
    # larger worlds have more questions than anybody asks
    parts = task.bind(0).parts if task.world_bytes <= SMALL else {}
    # of those measured by default what takes time; to ask all takes as long as to plan
    at_end = (Accuracy(),) if config.observe.probes is None else config.observe.probes
    end, each = (
        sum(
            _read(probe, part, parts.get(name)) or task.parts[name].items_per_exposure or 0
            for probe in probes
            for name, part in small.parts.items()
            if type(probe).applies(part)
        )
        for probes in (at_end, evaluation_probes(config, small))
    )
    if config.observe.probes is None:
        end += sum(part.items_per_exposure or 0 for part in task.parts.values())
    return end, each


def _read(probe: Probe, small: Task, task: Task | None) -> int:
    """Documents of one part of a task, 0 where the probe has no `items`.

    Args:
        task: whose questions are counted; None: there are enough.
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
