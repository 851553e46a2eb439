"""Where phases end once a goal has been reached, against ends that are written down."""

from collections.abc import Iterator
from typing import Any

from experiments.config.phases import Training, bound_to_phases, spans
from generators.mixture import Mixture


def phases_of(*ends: dict[str, Any]) -> Training:
    return Training.model_validate({"batch": 10, "phases": ends})


def junk() -> Mixture:
    return Mixture.model_validate(
        {
            "components": {
                "useful": {"task": {"kind": "bios", "people": 30}},
                "junk": {"task": {"kind": "bios", "people": 90, "apart_from": 30}},
            },
            "exposures_of": "useful",
        }
    ).bind(0)


def without_phases(training: Training) -> Iterator[tuple[int, ...]]:
    for span in spans(training, junk()):
        yield span.first_step, span.last_step, span.first_document, span.last_document


def test_steps_keep_their_number_and_exposures_their_place() -> None:
    """Against the same phases with their ends written down."""
    weight = {"weights": {"useful": 1, "junk": 3}}
    planned = phases_of(
        {"until_step": 20, **weight}, {"until_step": 30}, {"until_exposure": 9}, {"until_step": 99}
    )
    before = spans(planned, junk())
    task, found = bound_to_phases(planned, junk(), {0: 12})
    saved = before[2].last_step - found[2].last_step
    assert found[2].last_document == task.documents_of(9) and saved != 8
    written = phases_of(
        {"until_step": 12, **weight},
        {"until_step": 22},
        {"until_exposure": 9},
        {"until_step": 99 - saved},
    )
    told = [(s.first_step, s.last_step, s.first_document, s.last_document) for s in found]
    assert told == list(without_phases(written))
    assert task.documents_by_part(400) == bound_to_phases(written, junk())[0].documents_by_part(400)
    last = bound_to_phases(phases_of({"until_exposure": 1}), junk(), {0: 7})[1][0]
    assert last.last_document == junk().documents_of(1) < 70, (
        "the last batch is smaller, and the goal lies behind it"
    )


def ends(training: Training, reached: dict[int, int]) -> list[int]:
    return [span.last_step for span in bound_to_phases(training, junk(), reached)[1]]


def test_a_goal_that_passes_on_its_steps_leaves_the_next_phase_its_end() -> None:
    """Only its own: what an earlier goal has saved stays saved."""
    goal = {"until_accuracy": {"level": 0.5}}
    kept = {"until_accuracy": {"level": 0.5, "pass_on": True}}
    three = ({"until_step": 20}, {"until_step": 30}, {"until_step": 50})
    for goals, reached, expected in (
        ((kept, {}), {0: 12}, [12, 30, 50]),
        ((goal, {}), {0: 12}, [12, 22, 42]),
        ((kept, kept), {0: 12, 1: 15}, [12, 15, 50]),
        ((goal, kept), {0: 12, 1: 15}, [12, 15, 42]),
        ((kept, goal), {0: 12, 1: 15}, [12, 15, 35]),
        ((goal, kept), {0: 12}, [12, 22, 42]),
        ((kept, kept), {}, [20, 30, 50]),
    ):
        first, second, third = three
        phases = phases_of({**first, **goals[0]}, {**second, **goals[1]}, third)
        assert ends(phases, reached) == expected, (goals, reached)
