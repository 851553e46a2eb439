"""Time of making a batch beside that of a training step, at every shape of the shipped grids.

A shape is a task with its settings and a batch size; of the models that a grid trains on it the
one with the cheapest step counts.
"""

import time
from collections.abc import Iterator
from statistics import median

from experiments.config.run import RunConfig
from experiments.grid.grid import SHIPPED, Grid, load_grid

HEAD = ("grid", "task", "batch", "model", "rounds", "batch made, ms", "whole step, ms", "share, %")
WARM, FEWEST = 2, 5


def shapes_of(grid: Grid) -> list[RunConfig]:
    """The run with the cheapest step for each task and batch size of a grid."""
    cheapest: dict[tuple[str, int], RunConfig] = {}
    for point in grid.points:
        run = point.config
        shape = (run.model_dump_json(include={"task"}), run.training.batch)
        if shape not in cheapest or _work(run) < _work(cheapest[shape]):
            cheapest[shape] = run
    return list(cheapest.values())


def _work(run: RunConfig) -> int:
    """Orders models by what their first step costs."""
    phase = run.training.phases[0]
    loops = phase.loops or run.model.loops
    return (phase.core or run.model.core) * loops * run.model.width**2


def measure_shapes(grids: list[str], *, seconds: float) -> Iterator[tuple[str, ...]]:
    """Rows for a table, headed by `HEAD`, in time of the process and with one thread.

    Args:
        grids: names or files; none: all shipped ones.
        seconds: of process time, for each shape.
    """
    seen: set[tuple[str, int, int]] = set()
    for name in grids or sorted(path.stem for path in SHIPPED.glob("*.yaml")):
        for run in shapes_of(load_grid(name)):
            shape = (run.model_dump_json(include={"task"}), run.training.batch, _work(run))
            if shape not in seen:
                seen.add(shape)
                yield (name, *measure(run, seconds=seconds))


def measure(run: RunConfig, *, seconds: float) -> tuple[str, ...]:
    """Task, batch, model, rounds, and medians of the time for a batch and for a whole step."""
    from experiments.training.train import configure
    from experiments.training.trainer import Trainer

    configure("cpu")
    trainer = Trainer(run, "cpu")
    span = trainer.spans[0]
    made: list[float] = []
    steps: list[float] = []
    spent, rounds = 0.0, -WARM
    while rounds < FEWEST or spent < seconds:
        start = time.process_time()
        trainer.documents(trainer.counters.step)
        made.append(time.process_time() - start)
        start = time.process_time()
        trainer.step(span)  # makes the same batch again
        steps.append(time.process_time() - start)
        trainer.window.clear()
        rounds += 1
        spent += made[-1] + steps[-1] if rounds > 0 else 0.0
    batch, step = median(made[WARM:]), median(steps[WARM:])
    return (
        run.task.kind,
        str(run.training.batch),
        f"{trainer.model.config.label}, width {run.model.width}",
        str(rounds),
        f"{1e3 * batch:.2f}",
        f"{1e3 * step:.1f}",
        f"{100 * batch / step:.1f}",
    )
