"""Phases that end once the model is accurate enough."""

from typing import Any

from experiments.config.phases import Span
from experiments.measuring.measure import measure
from experiments.training.trainer import Trainer


def look_is_due(trainer: Trainer, span: Span) -> bool:
    """Whether it is to be seen after this step if the phase has reached its goal."""
    goal, step = span.phase.until_accuracy, trainer.counters.step
    if goal is None:
        return False
    return step == span.last_step or (step - span.first_step) % goal.every == 0


def look(trainer: Trainer, span: Span) -> dict[str, Any]:
    """Measures the goal of a phase, which ends with this step if it is reached.

    What is known of a phase that has ended is in `trainer.goals` from then on.

    Returns:
        The phase, its split, the lowest accuracy of its difficulties, and whether that reaches
        the level.
    """
    goal, step = span.phase.until_accuracy, trainer.counters.step
    assert goal is not None
    lowest = min(row.value for row in measure(trainer.subject, (goal.probe,)))
    seen = {
        "phase": trainer.spans.index(span),
        "split": goal.split,
        "accuracy": lowest,
        "reached": lowest >= goal.level,
    }
    if seen["reached"] or step == span.last_step:
        trainer.follow([*trainer.goals, {"step": step, **seen}])
    return seen
