"""A run as a generator that stops before each of its optimiser steps."""

from collections.abc import Generator
from typing import TYPE_CHECKING, TypeVar

from models.objectives.objective import Loss

if TYPE_CHECKING:
    from experiments.config.phases import Span
    from experiments.training.trainer import Trainer

T = TypeVar("T")
#: a run and the phase of the step that it is about to take
NextStep = tuple["Trainer", "Span"]
#: yields before every step. Whoever takes that step together with those of other runs sends its
#: loss; otherwise the run takes it by itself
Steps = Generator[NextStep, Loss | None, T]


def run_to_end(steps: Steps[T]) -> T:
    """Lets a run take all its steps by itself; what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
