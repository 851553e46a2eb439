"""What a grid would cost and where it stands, without training anything or writing anything."""

from collections import Counter
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from experiments.config import RunConfig, spans
from experiments.grid import Grid
from experiments.loops import expected_loops
from experiments.plugins import blame
from experiments.store import RunFolder
from experiments.summary import aligned, number
from generators.streams import Stream, generator
from generators.task import Task
from models.counts import count_parameters, training_flops


@dataclass(frozen=True)
class Cost:
    """Of one run. Tokens and FLOPs are those of a typical batch times the number of batches.

    Attributes:
        parameters: by part, with their `total`.
        tokens: without padding.
        train_flops: forward and backward, heads included.
    """

    parameters: dict[str, int]
    steps: int
    documents: int
    tokens: int
    train_flops: int


@dataclass(frozen=True)
class Planned:
    """A point of the grid; `status` is that of its run folder."""

    run_id: str
    part: str
    labels: dict[str, str]
    status: str
    cost: Cost


@dataclass(frozen=True)
class _Shape:
    """Of a task's documents in a batch: averages per document, and columns the model reads."""

    vocabulary: int
    tokens: float
    predicted: float
    context: int


def cost(config: RunConfig) -> Cost:
    """What a run costs."""
    config = config.canonical()
    task, model, objective = config.task, config.model, config.objective
    shape = _shape(type(task), task.model_dump_json(), config.training.batch)
    flops = 0.0
    found = spans(config.training, task.items_per_exposure)
    for span in found:
        documents = span.last_document - span.first_document
        for loops, share in expected_loops(span.phase.draw, span.phase.loops or model.loops):
            flops += share * training_flops(
                config.model_of(span.phase),
                shape.vocabulary,
                documents=documents,
                context=shape.context,
                predicted=round(documents * shape.predicted),
                n_loops=loops,
                losses=objective.losses_computed(loops),
                gate=objective.uses_gate,
                backprop_loops=span.phase.backprop_loops,
                frozen=objective.trains_gate_alone,
            )
    documents = found[-1].last_document
    return Cost(
        parameters=count_parameters(model, shape.vocabulary, gate=objective.uses_gate),
        steps=found[-1].last_step,
        documents=documents,
        tokens=round(documents * shape.tokens),
        train_flops=round(flops),
    )


@cache
def _shape(task_class: type[Task], task_json: str, batch: int) -> _Shape:
    """From one batch; cached, since runs of a grid share few tasks.

    Raises:
        LoopscopeError: the task cannot make one.
    """
    task = task_class.model_validate_json(task_json).bind(0)
    n = min(batch, task.items_per_exposure or batch)
    try:
        sample = task.sample(generator(0, Stream.TRAIN), n, index=0)
        used = sample.tokens != 0
    except Exception as error:  # whatever a plugin does wrong
        raise blame(f"task {task.kind}: a batch of {n}", error) from error
    return _Shape(
        vocabulary=len(task.vocabulary),
        tokens=float(used.sum()) / n,
        predicted=float(sample.loss_mask[:, 1:].sum()) / n,
        context=int(used.any(axis=0).nonzero()[0].max()),
    )


def plan(grid: Grid, out: Path) -> list[Planned]:
    """Every point in the grid's order."""
    runs = {
        run_id: (RunFolder(out / run_id).state(), cost(config))
        for run_id, config in grid.runs.items()
    }
    return [Planned(p.run_id, p.part, p.labels, *runs[p.run_id]) for p in grid.points]


def as_json(grid: Grid, out: Path, planned: list[Planned]) -> dict[str, Any]:
    """Points and totals as plain data."""
    return {
        "name": grid.name,
        "title": grid.title,
        "out": str(out),
        "runs": [asdict(point) for point in planned],
        "totals": totals(planned),
    }


def totals(planned: list[Planned]) -> dict[str, Any]:
    """Over runs, each counted once."""
    runs = {point.run_id: point for point in planned}.values()
    return {
        "points": len(planned),
        "runs": len(runs),
        "status": dict(sorted(Counter(run.status for run in runs).items())),
        "tokens": sum(run.cost.tokens for run in runs),
        "train_flops": sum(run.cost.train_flops for run in runs),
        "train_flops_left": sum(r.cost.train_flops for r in runs if r.status != "done"),
    }


def as_text(grid: Grid, planned: list[Planned]) -> str:
    """A line per point and one of totals."""
    head = ("run", "part", "point", "status", "parameters", "by part", "steps", "tokens", "FLOPs")
    lines = [head]
    for point in planned:
        parts = {k: v for k, v in point.cost.parameters.items() if v and k != "total"}
        lines.append(
            (
                point.run_id,
                point.part,
                " ".join(f"{axis}={label}" for axis, label in point.labels.items()),
                point.status,
                number(point.cost.parameters["total"]),
                " ".join(f"{name} {number(size)}" for name, size in parts.items()),
                number(point.cost.steps),
                number(point.cost.tokens),
                number(point.cost.train_flops),
            )
        )
    total = totals(planned)
    status = ", ".join(f"{n} {name}" for name, n in total["status"].items())
    return (
        f"{': '.join(filter(None, (grid.name, grid.title)))}\n\n{aligned(lines)}\n\n"
        f"{total['points']} points, {total['runs']} runs ({status}), "
        f"{number(total['tokens'])} tokens, {number(total['train_flops'])} FLOPs, "
        f"of which {number(total['train_flops_left'])} are still to do"
    )
