"""Measurements of how time and memory of a training step grow with loops and tokens."""

from collections.abc import Iterator, Sequence
from functools import partial
from statistics import median
from typing import TypeVar

import numpy as np
import torch

from experiments.bench.timing import Clock, in_turns
from experiments.bench.train import kept_memory, standard_shape
from experiments.training.train import configure
from experiments.training.trainer import Trainer

Way = TypeVar("Way")

SCALING_HEAD = ("tokens", "loops", "measured, ms", "fitted, ms", "difference, %")
RECOMPUTE_HEAD = ("loops", "memory, MB", "recomputed, MB", "x time")


def scaling(device: str, precision: str, seconds: float) -> tuple[list[tuple[str, ...]], str]:
    """Rows headed by `SCALING_HEAD`, and the fitted formula.

    The fit is t = a + b·tokens + c·loops·tokens by least squares on relative errors.
    """
    configure(device)
    trainers = {
        (batch * 64, loops): _trainer(device, precision, 64, loops, batch=batch)
        for batch in (16, 32, 64)
        for loops in (1, 2, 4, 8)
    }
    times = in_turns(_timed_steps(trainers, device), seconds)
    measured = np.array([median(found) for found in times.values()])
    counts = np.array([(1, tokens, loops * tokens) for tokens, loops in times])
    fit, *_ = np.linalg.lstsq(counts / measured[:, None], np.ones(len(counts)), rcond=None)
    rows: list[tuple[str, ...]] = []
    for (tokens, loops), found, fitted in zip(times, measured, counts @ fit, strict=True):
        difference = f"{100 * (fitted / found - 1):+.1f}"
        milliseconds = (f"{1e3 * found:.2f}", f"{1e3 * fitted:.2f}")
        rows.append((str(tokens), str(loops), *milliseconds, difference))
    a, b, c = fit
    return rows, f"t = {1e3 * a:.2f} ms + {1e6 * b:.3f} µs·tokens + {1e6 * c:.3f} µs·loops·tokens"


def recomputing(
    device: str,
    precision: str,
    seconds: float,
    *,
    width: int,
    numbers: Sequence[int] = (1, 2, 4, 8),
) -> Iterator[tuple[str, ...]]:
    """Rows headed by `RECOMPUTE_HEAD`: what recomputing costs, and saves.

    Memory is what the forward pass keeps for the backward pass; on a GPU the peak of a step.
    Time is that with recomputation divided by that without, the median over rounds of both.
    """
    configure(device)
    trainers = {
        (loops, recompute): _trainer(device, precision, width, loops, recompute=recompute)
        for loops in numbers
        for recompute in (False, True)
    }
    times = in_turns(_timed_steps(trainers, device), seconds)
    for loops in numbers:
        kept, again = (f"{kept_memory(trainers[loops, way]) / 1e6:.0f}" for way in (False, True))
        pairs = zip(times[loops, True], times[loops, False], strict=True)
        yield str(loops), kept, again, f"{median(b / a for b, a in pairs):.2f}"


def _trainer(
    device: str, precision: str, width: int, loops: int, *, batch: int = 64, recompute: bool = False
) -> Trainer:
    """A trainer of the standard shape with other loops and settings of training."""
    config = standard_shape(width, precision)
    model = config.model.model_copy(update={"loops": loops})
    training = config.training.model_copy(update={"batch": batch, "recompute": recompute})
    return Trainer(config.model_copy(update={"model": model, "training": training}), device)


def _timed_steps(trainers: dict[Way, Trainer], device: str) -> dict[Way, partial[float]]:
    """For each trainer a function that takes a step and returns its seconds."""
    clock = Clock(torch.device(device))
    return {
        way: partial(clock.seconds, partial(trainer.step, trainer.spans[0]))
        for way, trainer in trainers.items()
    }
