"""Questions put to trained runs, loop by loop, as plain data."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.errors import LoopscopeError
from experiments.measuring.load import load_subject
from experiments.measuring.measure import seen_parts
from experiments.runs.output import find_run
from probes.questions import asks
from probes.stepping import Stepped, step_through

#: runs that are stepped through where none are chosen
MOST_RUNS = 12
#: digits of a probability
DIGITS = 5


def traces_of(out: Path, run_ids: Iterable[str], n: int) -> dict[str, list[dict[str, Any]]]:
    """Run id -> the first `n` test questions of every difficulty, as `step_through` answers them.

    In a mixture every component that asks questions is asked.

    Args:
        run_ids: ids, or starts of ids, of runs with weights.

    Raises:
        LoopscopeError: no such run, it has no weights, or its task asks no questions.
    """
    found = {}
    for run_id in run_ids:
        folder = find_run(out, run_id)
        subject = load_subject(out, folder.run_id)
        parts = {name: part for name, part in subject.task.parts.items() if asks(part)}
        if not parts:
            raise LoopscopeError(
                f"{folder.run_id}: {subject.task.kind} asks no questions to step through"
            )
        asked = [(name, step_through(part, n)) for name, part in seen_parts(subject, parts)]
        found[folder.run_id] = [_plain(name, one) for name, steps in asked for one in steps]
    return found


def with_weights(out: Path, run_ids: Iterable[str]) -> list[str]:
    """Those of the runs that have a checkpoint; none in an archive."""
    return [r for r in run_ids if (out / r / "checkpoint.pt").is_file()]


def _plain(component: str, stepped: Stepped) -> dict[str, Any]:
    return {
        "question": f"{component}: {stepped.question}" if component else stepped.question,
        "answer": stepped.answer,
        "difficulty": stepped.difficulty,
        "bridges": [list(bridge) for bridge in stepped.bridges],
        "steps": [
            {
                "candidates": [[token, round(p, DIGITS)] for token, p in step.candidates],
                "answer": round(step.answer, DIGITS),
                "bridges": [round(p, DIGITS) for p in step.bridges],
                "exit": None if step.exit is None else round(step.exit, DIGITS),
            }
            for step in stepped.steps
        ],
    }
