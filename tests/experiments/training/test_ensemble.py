"""Runs that one worker trains together: each folder is what it would be for a run alone."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from toys import frozen, trained

from experiments.config.loop_sampling import LoopDraw
from experiments.config.phases import Phase, Training
from experiments.config.run import Observe, RunConfig
from experiments.execution.backends.options import backend_options
from experiments.execution.job import Job, JobOutcome
from experiments.execution.runner import run_grid
from experiments.execution.stack_planner import (
    Stacker,
    pays_on_cpu,
    reason_not_stackable,
    stack_key,
)
from experiments.execution.worker import StopFlag, perform
from experiments.grid.grid import load_grid
from experiments.runs.folder import RunFolder
from experiments.training import joint_step
from experiments.training.ensemble import Ensemble
from experiments.training.recorder import Clock
from experiments.training.steps import Steps
from experiments.training.train import train
from generators.multihop import MultiHop
from models.config import LoopedConfig
from models.objectives.entropy import Entropy
from probes.accuracy import Accuracy

STEPS = 12


def config(
    seed: int, lr: float = 1e-3, *, levers: dict[str, Any] | None = None, **changes: Any
) -> RunConfig:
    phases = (Phase(until_step=5, warmup=2), Phase(until_step=STEPS, loops=1, decay="linear"))
    fields = {
        "training": Training(batch=16, lr=lr, phases=phases, **levers or {}),
        "observe": Observe(
            probes=(Accuracy(items=16),),
            log_every=3,
            evaluate_every=6,
            evaluate_with=(Accuracy(items=8),),
        ),
    }
    return toys.config(seed, **fields | changes)


def together(folders: list[RunFolder], stop: StopFlag | None = None) -> dict[str, JobOutcome]:
    first, *others = folders
    job = Job(folder=first.path, beside=tuple(f.path for f in others))
    return {outcome.run_id: outcome for outcome in perform(job, stop or StopFlag())}


def alone(path: Path, runs: list[RunConfig]) -> list[RunFolder]:
    return [trained(path, run) for run in runs]


def assert_same(found: RunFolder, wanted: RunFolder) -> None:
    """The same run but for rounding and time."""
    one, other = found.result(), wanted.result()
    assert one is not None and other is not None
    differ = ("timings", "measurements", "checksums")  # of lines that tell times
    assert {k: v for k, v in one.items() if k not in differ} == {
        k: v for k, v in other.items() if k not in differ
    }
    assert one["checksums"]["config.json"] == other["checksums"]["config.json"]
    mine, theirs = found.metrics(), wanted.metrics()
    assert [line["step"] for line in mine] == [line["step"] for line in theirs]
    for line, like in zip(mine, theirs, strict=True):
        assert line.keys() == like.keys()
        if "loss" in line:
            assert line["loss"] == pytest.approx(like["loss"], rel=1e-4)
            assert (line["tokens"], line["lr"]) == (like["tokens"], like["lr"])
    first, second = (
        torch.load(folder.checkpoint_path, weights_only=True) for folder in (found, wanted)
    )
    for name, weight in second["model"].items():
        torch.testing.assert_close(first["model"][name], weight, rtol=1e-2, atol=1e-4)
    assert abs(found.checkpoint_path.stat().st_size - wanted.checkpoint_path.stat().st_size) < 999


def test_every_run_is_what_it_is_alone(tmp_path: Path) -> None:
    runs = [config(1), config(2), config(3, lr=3e-3)]
    folders = frozen(tmp_path / "together", *runs)
    outcomes = together(folders)
    assert {outcome.ended for outcome in outcomes.values()} == {"done"}
    for found, wanted in zip(folders, alone(tmp_path / "alone", runs), strict=True):
        assert_same(found, wanted)
        others = {folder.run_id for folder in folders} - {found.run_id}
        assert set((found.environment() or {})["stacked_with"]) == others


def test_steps_are_really_taken_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    real = joint_step.JointRuns.step

    def step(self: joint_step.JointRuns, index: int) -> Any:
        sizes.append(len(self.trainers))
        return real(self, index)

    monkeypatch.setattr(joint_step.JointRuns, "step", step)
    together(frozen(tmp_path, config(1), config(2), config(3)))
    assert sizes == [3] * STEPS


@pytest.mark.parametrize("levers", [{}, {"optimiser": "muon", "ema": 0.8, "accumulate": 3}])
def test_stopped_together_resumed_alone_and_in_another_stack(
    tmp_path: Path, levers: dict[str, Any]
) -> None:
    runs = [config(seed, levers=levers) for seed in (1, 2, 3)]
    folders = frozen(tmp_path / "together", *runs)
    stop = StopFlag()
    seen: list[int] = []

    class After(StopFlag):
        def __call__(self) -> bool:
            seen.append(1)
            return len(seen) > 3 + 3 * 7 or stop()

    assert {outcome.ended for outcome in together(folders, After()).values()} == {"stopped"}
    steps = [torch.load(f.checkpoint_path, weights_only=True)["step"] for f in folders]
    assert all(6 < step < STEPS for step in steps), steps
    assert train(runs[0], folders[0])
    late = config(4, levers=levers)
    fresh = frozen(tmp_path / "together", late)
    assert {o.ended for o in together([*folders[1:], *fresh]).values()} == {"done"}
    wanted = alone(tmp_path / "alone", [*runs, late])
    for found, like in zip([*folders, *fresh], wanted, strict=True):
        assert_same(found, like)


def test_one_that_diverges_fails_and_the_rest_goes_on(tmp_path: Path) -> None:
    runs = [config(1), config(2, lr=1e30), config(3)]
    folders = frozen(tmp_path / "together", *runs)
    outcomes = together(folders)
    assert [outcomes[f.run_id].ended for f in folders] == ["done", "failed", "done"]
    assert "not finite" in outcomes[folders[1].run_id].reason or (
        "loss is nan" in outcomes[folders[1].run_id].reason
    )
    assert folders[1].state() == "failed"
    wanted = alone(tmp_path / "alone", [runs[0], runs[2]])
    for found, like in zip([folders[0], folders[2]], wanted, strict=True):
        assert_same(found, like)


def test_one_that_is_done_or_taken_is_left_alone(tmp_path: Path) -> None:
    runs = [config(seed) for seed in (1, 2, 3)]
    folders = frozen(tmp_path, *runs)
    train(runs[0], folders[0])
    before = folders[0].checkpoint_path.read_bytes()
    claim = json.dumps({"machine": "elsewhere", "pid": 1, "since": 0})
    folders[1].lock_path.write_text(claim)
    outcomes = together(folders)
    assert [outcomes[f.run_id].ended for f in folders] == ["done", "busy", "done"]
    assert folders[0].checkpoint_path.read_bytes() == before
    assert folders[1].lock_path.read_text() == claim


def test_where_a_common_step_fails_each_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = joint_step.JointRuns.step

    def step(self: joint_step.JointRuns, index: int) -> Any:
        if self.trainers[0].counters.step == 4:
            raise torch.OutOfMemoryError("too many at once")
        return real(self, index)

    monkeypatch.setattr(joint_step.JointRuns, "step", step)
    runs = [config(1), config(2)]
    folders = frozen(tmp_path / "together", *runs)
    assert {outcome.ended for outcome in together(folders).values()} == {"done"}
    assert "goes on by itself" in (folders[1].path / "log.txt").read_text()
    for found, wanted in zip(folders, alone(tmp_path / "alone", runs), strict=True):
        assert_same(found, wanted)


def test_time_is_divided_and_adds_up(tmp_path: Path) -> None:
    folders = frozen(tmp_path, config(1), config(2))
    start = time.perf_counter(), time.process_time()
    together(folders)
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    timings = [result["timings"] for folder in folders if (result := folder.result())]
    assert len(timings) == 2
    assert 0 < sum(t["wall_seconds"] for t in timings) < wall
    assert 0 < sum(t["cpu_seconds"] for t in timings) < cpu


def test_kin_agree_in_everything_but_seed_and_rates() -> None:
    one = config(1)
    assert stack_key(one) == stack_key(config(2, lr=5e-3))
    assert stack_key(one) == stack_key(config(1, observe=Observe()))
    pinned = MultiHop(entities=8, relations=4, hops=2, world_seed=5)
    assert stack_key(one) == stack_key(config(1, task=pinned))
    assert stack_key(one) != stack_key(config(1, task=MultiHop(entities=9, relations=4, hops=2)))
    assert stack_key(one) != stack_key(config(1, model=LoopedConfig(width=16, heads=1, loops=2)))
    assert stack_key(one) != stack_key(config(1, objective=Entropy()))


def test_what_cannot_be_stacked_says_why(tmp_path: Path) -> None:
    drawn = (Phase(until_step=5, draw=LoopDraw(kind="uniform", most=3)),)
    alone = {
        "experts": config(1, model=LoopedConfig(width=16, heads=2, mlp="moe")),
        "draws": config(1, training=Training(batch=16, phases=drawn)),
    }
    assert reason_not_stackable(config(1)) == ""
    for word, run in alone.items():
        assert word in reason_not_stackable(run)
    told: list[str] = []
    folders = frozen(tmp_path, alone["experts"], config(5, model=alone["experts"].model))
    stacker = Stacker(4, 1, told.append)
    assert stacker.companions(folders[0], "cpu", folders) == []
    assert len(told) == 1 and "experts" in told[0]


def test_how_many_are_put_together(tmp_path: Path) -> None:
    folders = frozen(tmp_path, *map(config, range(9)))
    other = frozen(tmp_path, config(0, model=LoopedConfig(width=8, heads=2, loops=2)))
    queue = [*folders, *other]

    def size(wanted: int | str | None, slots: int, device: str) -> int:
        found = Stacker(wanted, slots, print).companions(folders[0], device, queue)
        assert other[0] not in found and folders[0] not in found
        return 1 + len(found)

    assert size(None, 1, "cpu") == 1
    assert size(1, 1, "cuda:0") == 1
    assert size(4, 1, "cpu") == 4
    assert size(4, 3, "cpu") == 3
    assert size("auto", 1, "cpu") == 8
    assert size(None, 1, "cuda:0") == 9
    large = config(1, training=Training(batch=4096, phases=(Phase(until_step=1),)))
    assert pays_on_cpu(config(1)) and not pays_on_cpu(large)
    stacker = Stacker(4, 1, print)
    stacker.part(folders[:2])
    assert folders[1] not in stacker.companions(folders[2], "cpu", queue)
    assert stacker.companions(folders[0], "cpu", queue) == []


def test_a_grid_in_stacks(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(
        "name: stacked\n"
        "baseline:\n"
        "  task: {kind: multihop, entities: 8, relations: 4, hops: 2}\n"
        "  model: {width: 8, heads: 2, loops: 2}\n"
        "  training: {batch: 16, phases: [{until_step: 4}]}\n"
        "  observe: {probes: [{kind: accuracy, items: 8}]}\n"
        "axes:\n"
        "  model.loops: [1, 2]\n"
        "  seed: [0, 1, 2]\n"
    )
    options = backend_options("local", workers=1, stack="3", device="cpu")
    outcome = run_grid(load_grid(file), tmp_path / "runs", backend=options, progress=False)
    assert len(outcome.done) == 6 and outcome.exit_status == 0
    for run_id in outcome.done:
        found = RunFolder(tmp_path / "runs" / run_id).environment()
        assert found is not None and len(found["stacked_with"]) == 2


def test_an_error_of_the_work_itself_is_not_swallowed_and_lets_go_of_the_others(
    tmp_path: Path,
) -> None:
    closed: list[str] = []

    def work(path: Path, clock: Clock) -> Steps[str]:
        if path.name == "b":
            raise KeyboardInterrupt
        if path.name == "a":
            return path.name
        try:
            yield never
        finally:
            closed.append(path.name)
        return path.name

    never: Any = None
    found = Ensemble([tmp_path / name for name in "abc"], work).outcomes()
    assert next(found) == "a"
    with pytest.raises(KeyboardInterrupt):
        next(found)
