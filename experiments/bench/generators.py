"""Speed of the generators, in the time of the process and by the wall clock."""

import time
from collections.abc import Iterator
from statistics import median
from typing import cast

from experiments.errors import LoopscopeError
from generators.plugins import choices, nearest
from generators.streams import Stream, generator
from generators.task import Task

#: seconds of process time of one turn
TURN = 0.05
HEAD = ("task", "tokens a document", "million tokens a second", "by the wall clock")


def measure_all(
    kinds: list[str] | None, *, batch: int, seconds: float
) -> Iterator[tuple[str, ...]]:
    """Rows of a table, headed by `HEAD`.

    Every task has its default settings; its world is built before the clock starts.

    Raises:
        LoopscopeError: an unknown kind.
    """
    known = cast(dict[str, type[Task]], choices(Task, "generators"))
    for kind in kinds or ():
        if kind not in known:
            raise LoopscopeError(
                f"there is no task {kind!r}{nearest(kind, known)}; there are {', '.join(known)}"
            )
    for kind in kinds or known:
        task = known[kind].model_validate({}).bind(0)
        length, *speeds = measure(task, batch=batch, seconds=seconds)
        yield (kind, f"{length:.1f}", *(f"{speed / 1e6:.2f}" for speed in speeds))


def measure(task: Task, *, batch: int, seconds: float) -> tuple[float, float, float]:
    """The mean length of a bound task's training documents, and its tokens a second.

    Tokens are counted without padding. The speeds are by process time and by the wall clock, each
    the median over turns of `TURN` seconds, which take `seconds` of process time together.
    """
    exposures = task.items_per_exposure is not None
    step = documents = tokens = 0

    def sample() -> None:
        nonlocal step, documents, tokens
        rng = generator(task.seed, Stream.TRAIN, step)
        made = task.sample(rng, batch, index=step * batch if exposures else None)
        tokens += int((made.tokens != 0).sum())
        step, documents = step + 1, documents + len(made)

    sample()  # builds the world and its tables
    turns: list[tuple[float, float]] = []
    while len(turns) * TURN < seconds:
        before, wall, start = tokens, time.perf_counter(), time.process_time()
        while time.process_time() - start < TURN:
            sample()
        made = tokens - before
        turns.append((made / (time.process_time() - start), made / (time.perf_counter() - wall)))
    by_process, by_wall = (median(speeds) for speeds in zip(*turns, strict=True))
    return tokens / documents, by_process, by_wall
