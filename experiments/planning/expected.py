"""What the runs of a grid are expected to take, before the first of them has begun."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from experiments.config.costs import Work, cost_and_work
from experiments.config.run import RunConfig
from experiments.planning.estimate import Estimator, Finished, measured_seconds
from experiments.planning.probe_costs import measuring_work
from experiments.runs.folder import RunFolder


@dataclass(frozen=True)
class Expected:
    """The parts of runs, on one worker.

    Attributes:
        parts: run id -> (training, measuring).
        in_seconds: whether these are seconds; else FLOPs, since nothing is known of the device.
    """

    parts: dict[str, tuple[float, float]]
    in_seconds: bool


def expected(
    todo: Mapping[RunFolder, RunConfig], done: Iterable[tuple[RunFolder, RunConfig]], device: str
) -> Expected:
    """What planning expects of runs: seconds, where a calibration or finished runs tell them.

    A run whose own code fails is taken for as long as the others; its worker says it better.
    """
    finished = [
        Finished(config.task.kind, sum_of(works), seconds)
        for folder, config in done
        if (seconds := measured_seconds(folder, device)) is not None
        and (works := _works(config)) is not None
    ]
    estimator = Estimator.of(device, finished)
    works = {folder.run_id: (config, _works(config)) for folder, config in todo.items()}
    known = {run_id: (config, parts) for run_id, (config, parts) in works.items() if parts}
    seconds = {
        run_id: tuple(estimator.seconds(config, part) for part in parts)
        for run_id, (config, parts) in known.items()
    }
    in_seconds = bool(seconds) and not any(part is None for s in seconds.values() for part in s)
    found = {
        run_id: (float(seconds[run_id][0] or 0), float(seconds[run_id][1] or 0))
        if in_seconds
        else (parts[0].flops, parts[1].flops)
        for run_id, (_, parts) in known.items()
    }
    usual = _mean(part[0] for part in found.values()), _mean(part[1] for part in found.values())
    return Expected({run_id: found.get(run_id, usual) for run_id in works}, in_seconds)


def sum_of(works: tuple[Work, Work]) -> Work:
    return works[0] + works[1]


def _works(config: RunConfig) -> tuple[Work, Work] | None:
    """The work of training and of measuring; None where it cannot be counted."""
    try:
        needed, training = cost_and_work(config)
        return training, measuring_work(config, needed, training)
    except Exception:
        return None


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0
