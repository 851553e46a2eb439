"""A phase with a goal is the phase that ends where an independent look says it is reached."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from toys import assert_same_run, science, trained, weights

from experiments.config.costs import cost
from experiments.config.phases import Phase, Training
from experiments.config.run import Observe, RunConfig
from experiments.errors import LoopscopeError
from experiments.execution.stack_planner import reason_not_stackable
from experiments.grid.grid import load_grid
from experiments.measuring.load import load_model
from experiments.planning.probe_costs import measuring_work
from experiments.results.long_table import load_curves
from experiments.runs.folder import RunFolder
from experiments.training import trainer
from experiments.training.prefetch import Prefetch
from generators.mano import Mano
from generators.task import Batch
from models.config import LoopedConfig
from probes.accuracy import Accuracy
from probes.questions import questions

EVERY, LEVEL = 2, 0.65
GOAL: dict[str, Any] = {
    "level": LEVEL,
    "difficulties": [1],
    "split": "train",
    "every": EVERY,
    "items": 64,
}
EASY = {"until_step": 40, "warmup": 3, "weights": {"1": 1}}
BOTH = {"until_step": 52, "warmup": 2, "decay": "sqrt", "weights": {"1": 1, "2": 2}}
LAST = {"until_step": 60, "lr": 1e-3}


def run_of(*phases: dict[str, Any], **changes: Any) -> RunConfig:
    training = {"batch": 32, "lr": 1e-2, "phases": phases}
    return toys.config(
        training=Training.model_validate(training),
        observe=Observe(probes=(), log_every=1, checkpoint_seconds=1000),
        **changes,
    )


def with_goal(**goal: Any) -> RunConfig:
    return run_of({**EASY, "until_accuracy": {**GOAL, **goal}}, BOTH, LAST)


def ending(step: int) -> RunConfig:
    """The same phases, the first one ending at a step that is written down."""
    moved = [{**phase, "until_step": phase["until_step"] - 40 + step} for phase in (BOTH, LAST)]
    return run_of({**EASY, "until_step": step}, *moved)


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The first even step after which the probe sees the level, in a run without a goal."""
    look = Accuracy(items=64, splits=("train",), difficulties=(1,))
    observe = Observe(
        probes=(), evaluate_every=EVERY, evaluate_with=(look,), checkpoint_seconds=1000
    )
    run = run_of(EASY).model_copy(update={"observe": observe})
    lines = trained(tmp_path_factory.mktemp("looked"), run).metrics()
    seen = {x["step"]: x["measurements"][0]["value"] for x in lines if "measurements" in x}
    step = next(step for step, value in seen.items() if value >= LEVEL)
    assert 4 < step < 38, f"{seen}: the test needs a step in the middle"
    return step


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return trained(tmp_path_factory.mktemp("gated"), with_goal())


def told(folder: RunFolder) -> list[dict[str, Any]]:
    return [line for line in folder.metrics() if "loss" in line]


def assert_same_training(one: RunFolder, other: RunFolder) -> None:
    """Weights, losses and learning rates, bit for bit."""
    a, b = weights(one), weights(other)
    assert all(torch.equal(a[name], b[name]) for name in a)
    keys = ("step", "loss", "lr", "tokens")
    assert [[x[k] for k in keys] for x in told(one)] == [[x[k] for k in keys] for x in told(other)]


def test_the_phase_ends_where_the_level_is_first_seen(
    tmp_path: Path, gated: RunFolder, reached: int
) -> None:
    """And those after it are as long as they were: documents, schedules and all."""
    assert_same_training(gated, trained(tmp_path, ending(reached)))
    result = gated.result()
    assert result is not None
    (goal,) = result["goals"]
    assert (goal["phase"], goal["step"], goal["reached"]) == (0, reached, True)
    assert goal["accuracy"] >= LEVEL and result["steps"] == 60 - 40 + reached
    looks = [line for line in gated.metrics() if "goal" in line]
    assert [line["step"] for line in looks] == [*range(EVERY, reached + 1, EVERY)]
    assert [line["goal"]["reached"] for line in looks] == [False] * (len(looks) - 1) + [True]
    assert f"phase 0 reaches its goal at step {reached}" in (gated.path / "log.txt").read_text()
    status = gated.status()
    assert status is not None and status.last_step == result["steps"]


def test_the_schedule_of_a_phase_is_cut_short_and_the_next_begins_its_own(tmp_path: Path) -> None:
    run = run_of({**EASY, "decay": "linear", "until_accuracy": GOAL}, BOTH)
    folder = trained(tmp_path, run)
    step = (folder.result() or {})["goals"][0]["step"]
    assert 4 < step < 40
    first = [1e-2 * min((i + 1) / 3, 1 - max(i - 3, 0) / 37) for i in range(step)]
    second = [
        1e-2 * (0.5, 1.0)[i] if i < 2 else 1e-2 * (1 - ((i - 2) / 10) ** 0.5) for i in range(12)
    ]
    assert [line["lr"] for line in told(folder)] == pytest.approx(first + second)


def test_a_goal_that_is_never_reached_changes_nothing(tmp_path: Path) -> None:
    run = with_goal(difficulties=[2], split="validation", level=1.0)
    folder = trained(tmp_path, run)
    assert_same_training(folder, trained(tmp_path, ending(40)))
    result = folder.result()
    assert result is not None and result["steps"] == 60
    assert [(g["step"], g["reached"]) for g in result["goals"]] == [(40, False)]


def test_without_goals_a_result_says_nothing_of_them(tmp_path: Path) -> None:
    result = trained(tmp_path, ending(4)).result()
    assert result is not None and "goals" not in result


@pytest.mark.parametrize("before", [1, 0, -1], ids=["before", "at", "after"])
def test_stopped_around_the_goal_it_is_the_same_run(
    tmp_path: Path, gated: RunFolder, reached: int, before: int
) -> None:
    assert_same_run(gated, trained(tmp_path, with_goal(), reached - before, 3))


def test_the_batch_that_was_made_ahead_is_made_again(
    tmp_path: Path, gated: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {Batch: lambda on: Prefetch(True)}
    monkeypatch.setattr(trainer, "Prefetch", made)
    assert science(gated) == science(trained(tmp_path, with_goal()))


def test_a_goal_in_the_last_phase_ends_the_run(tmp_path: Path, reached: int) -> None:
    run = run_of({**EASY, "until_accuracy": GOAL})
    folder = trained(tmp_path, run)
    result = folder.result()
    assert result is not None and result["steps"] == reached
    assert told(folder)[-1]["step"] == reached and "lost_metrics" not in result
    model, task = load_model(tmp_path, run.run_id)
    right = Accuracy(items=64, splits=("train",), difficulties=(1,))
    from experiments.measuring.measure import measure, subject_of

    found = measure(subject_of(run, model, task, torch.device("cpu")), (right,))
    assert found[0].value == result["goals"][0]["accuracy"]


def test_a_model_grows_when_the_goal_is_reached(tmp_path: Path) -> None:
    """And its checkpoint is read in the shape that it has, not in that of the planned phases."""
    model = LoopedConfig(width=16, heads=2, core=2)
    phases = ({**EASY, "core": 1, "until_accuracy": GOAL}, {**BOTH, "growth": "stack"})
    folder = trained(tmp_path / "a", run_of(*phases, model=model))
    (goal,), (growth,) = (folder.result() or {})["goals"], (folder.result() or {})["growth"]
    assert growth["step"] == goal["step"] + 1 < 41
    assert load_model(tmp_path / "a", folder.run_id)[0].config.core == 2
    assert_same_run(folder, trained(tmp_path / "b", run_of(*phases, model=model), goal["step"] + 2))


def test_a_look_asks_about_nothing_that_is_trained_or_tested_on() -> None:
    task = Mano(length=3, modulus=5).bind(0)

    def asked(split: str, difficulty: int) -> set[bytes]:
        batch = questions(task, 0, split, difficulty, 512)
        return {row[: 3 + 2 * difficulty].tobytes() for row in batch.tokens}

    shown = task.sample(np.random.default_rng(5), 20_000, difficulty=2)
    looked = asked("validation", 2)
    assert looked.isdisjoint(asked("test", 2)) and len(looked) > 20
    assert looked.isdisjoint({row[:7].tobytes() for row in shown.tokens})


def test_trained_with_passed_on_steps_it_is_the_run_with_the_ends_written_down(
    tmp_path: Path, reached: int
) -> None:
    folder = trained(tmp_path, with_goal(pass_on=True))
    written = run_of({**EASY, "until_step": reached}, BOTH, LAST)
    assert_same_training(folder, trained(tmp_path, written))
    assert (folder.result() or {})["steps"] == 60


def test_the_plan_counts_the_steps_of_phases_that_never_reach_their_goals(tmp_path: Path) -> None:
    run = with_goal(level=1.0, difficulties=[2], split="validation")
    needed = cost(run)
    assert needed.steps == 60 == cost(ending(40)).steps
    folder = trained(tmp_path, run)
    assert (folder.result() or {})["steps"] == needed.steps
    read = sum("goal" in line for line in folder.metrics()) * questions_of(run)
    from experiments.config.costs import cost_and_work

    work = cost_and_work(run)[1]
    looked = measuring_work(run, needed, work)
    assert looked.flops == pytest.approx(work.flops / 3 / needed.documents * read)


def questions_of(run: RunConfig) -> int:
    return len(questions(run.bound_task(), run.seed, "validation", 2, 64))


def test_goals_are_part_of_the_id_and_their_order_is_not() -> None:
    assert with_goal().run_id == with_goal(difficulties=[1, 1]).run_id
    assert len({with_goal(**{k: v}).run_id for k, v in OTHER.items()} | {with_goal().run_id}) == 7


OTHER = {
    "level": 0.5,
    "difficulties": [2],
    "split": "validation",
    "every": 3,
    "items": 65,
    "pass_on": True,
}


def test_runs_with_goals_are_not_stacked_and_it_is_said_why() -> None:
    assert reason_not_stackable(ending(40)) == ""
    assert "end at another step in every run" in reason_not_stackable(with_goal())


def test_curves_have_the_looks(tmp_path: Path, gated: RunFolder) -> None:
    curves = load_curves(gated.path.parent)
    looks = curves[curves["metric"] == "goal_accuracy"]
    lines = [line for line in gated.metrics() if "goal" in line]
    assert looks["value"].tolist() == [line["goal"]["accuracy"] for line in lines]
    assert set(looks["split"]) == {"train"}


@pytest.mark.parametrize(
    ("task", "goal", "place", "message"),
    [
        ("{kind: mano, length: 3}", "{level: .9, split: test}", "split", "'validation' or 'train'"),
        ("{kind: mano, length: 3}", "{level: 1.5}", "level", "less than or equal to 1"),
        (
            "{kind: mano, length: 3}",
            "{level: .5, difficulties: [1]}",
            "difficulties",
            "it has 2, 3",
        ),
        (
            "{kind: mano, length: 3}",
            "{level: .5, difficulties: [4]}",
            "difficulties",
            "it has 2, 3",
        ),
        ("{kind: mano, length: 3}", "{level: .5, difficulties: []}", "difficulties", "at least 1"),
        ("{kind: mano, length: 3}", "{level: .5, every: 100}", "every", "look more often"),
        ("{kind: mano, length: 3}", "{levle: .5}", "levle", "level"),
        ("{kind: bios, people: 50}", "{level: .5, split: train}", "", "asks no questions"),
    ],
)
def test_goals_that_cannot_be_are_refused_where_they_stand(
    tmp_path: Path, task: str, goal: str, place: str, message: str
) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(
        f"baseline:\n  task: {task}\n  model: {{width: 16}}\n"
        f"  training:\n    phases:\n      - {{until_step: 100, until_accuracy: {goal}}}\n"
    )
    with pytest.raises(LoopscopeError) as caught:
        load_grid(path)
    assert f"{path}:6:" in str(caught.value) and message in str(caught.value)
    assert ".".join(filter(None, ("until_accuracy", place))) in str(caught.value)


def test_a_difficulty_with_nothing_held_out_says_how_to_ask(tmp_path: Path) -> None:
    goal = Phase.model_validate(
        {"until_step": 9, "until_accuracy": {**GOAL, "split": "validation"}}
    )
    assert goal.until_accuracy is not None
    (problem,) = goal.until_accuracy.misfits(Mano(length=3))
    assert problem == (
        "difficulties",
        "mano has no difficulty 1 in its validation split; it has 2, 3, and all others with "
        "split: train",
    )
