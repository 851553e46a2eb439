"""How time and memory of a training step grow with loops and tokens."""

import time
from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np
import torch

from experiments.bench.train import FEWEST, WARM, Clock, kept_memory, standard_shape
from experiments.training.train import configure
from experiments.training.trainer import Trainer


def scaling(*, device: str, precision: str, seconds: float) -> Iterator[tuple[str, ...]]:
    """Rows for a table: seconds of a step for loops and tokens, measured and fitted.

    The fit is t = a + b·tokens + c·loops·tokens by least squares on relative errors; the last
    row tells a, b and c. All cells are measured in turns.
    """
    configure(device)
    trainers: dict[tuple[int, int], Trainer] = {}
    for batch in (16, 32, 64):
        for loops in (1, 2, 4, 8):
            config = standard_shape(64, precision)
            model = config.model.model_copy(update={"loops": loops})
            training = config.training.model_copy(update={"batch": batch})
            run = config.model_copy(update={"model": model, "training": training})
            trainers[batch * 64, loops] = Trainer(run, device)
    clock = Clock(torch.device(device))
    times: dict[tuple[int, int], list[float]] = {cell: [] for cell in trainers}
    until, rounds = time.perf_counter() + seconds, -WARM
    while rounds < FEWEST or time.perf_counter() < until:
        for cell, trainer in trainers.items():
            start = clock()
            trainer.step(trainer.spans[0])
            times[cell].append(clock() - start)
        rounds += 1
    measured = np.array([median(found[WARM:]) for found in times.values()])
    counts = np.array([(1, tokens, loops * tokens) for tokens, loops in times])
    fit, *_ = np.linalg.lstsq(counts / measured[:, None], np.ones(len(counts)), rcond=None)
    yield ("tokens", "loops", "measured, ms", "fitted, ms", "difference, %")
    for (tokens, loops), time_, fitted in zip(times, measured, counts @ fit, strict=True):
        difference = f"{100 * (fitted / time_ - 1):+.1f}"
        row = (str(tokens), str(loops), f"{1e3 * time_:.2f}", f"{1e3 * fitted:.2f}", difference)
        yield row
    a, b, c = fit
    yield (f"t = {1e3 * a:.2f} ms + {1e6 * b:.3f} µs·tokens + {1e6 * c:.3f} µs·loops·tokens",)


RECOMPUTE_HEAD = ("loops", "memory, MB", "recomputed, MB", "x time")


def recomputing(
    *,
    device: str,
    precision: str,
    seconds: float,
    width: int,
    numbers: Sequence[int] = (1, 2, 4, 8),
) -> Iterator[tuple[str, ...]]:
    """Rows as `RECOMPUTE_HEAD` names them: what recomputing costs, and saves.

    Memory is what the forward pass keeps for the backward pass; on a GPU the peak of a step.
    Time is that with recomputation through that without, the median over rounds of both.
    """
    configure(device)
    clock = Clock(torch.device(device))
    pairs: dict[int, list[Trainer]] = {}
    for loops in numbers:
        config = standard_shape(width, precision)
        model = config.model.model_copy(update={"loops": loops})
        pairs[loops] = []
        for recompute in (False, True):
            training = config.training.model_copy(update={"recompute": recompute})
            run = config.model_copy(update={"model": model, "training": training})
            pairs[loops].append(Trainer(run, device))
    ratios: dict[int, list[float]] = {loops: [] for loops in pairs}
    until, rounds = time.perf_counter() + seconds, -WARM
    while rounds < FEWEST or time.perf_counter() < until:
        for loops, pair in pairs.items():
            times = []
            for trainer in pair:
                start = clock()
                trainer.step(trainer.spans[0])
                times.append(clock() - start)
            ratios[loops].append(times[1] / times[0])
        rounds += 1
    for loops, pair in pairs.items():
        memory = [f"{kept_memory(trainer) / 1e6:.0f}" for trainer in pair]
        yield (str(loops), *memory, f"{median(ratios[loops][WARM:]):.2f}")
