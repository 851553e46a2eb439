"""Batches made while the step before them is taken are those made when they are needed."""

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import assert_same_run, config

from experiments.bench.timing import Clock
from experiments.bench.train import PARTS, _contenders
from experiments.config.phases import Phase, Training
from experiments.config.run import RunConfig
from experiments.execution.job import Job
from experiments.execution.worker import StopFlag, perform
from experiments.runs.folder import RunFolder
from experiments.training import joint_step, trainer
from experiments.training.joint_step import JointRuns
from experiments.training.prefetch import Prefetch
from experiments.training.train import train
from experiments.training.trainer import Trainer
from generators.mixture import Mixture
from generators.multihop import MultiHop
from generators.task import Batch
from models.config import LoopedConfig
from models.objectives.entropy import Entropy
from probes.capacity import Capacity

NAME = "prefetch"


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Batches are made ahead on a CPU too; all threads that do so end with the test."""
    for module in (trainer, joint_step):
        monkeypatch.setattr(module, "Prefetch", {Batch: Always, list[Batch]: Always})
    yield
    assert_threads_end()


def Always(on: bool) -> Prefetch[Any]:
    assert not on, "off on a CPU, unless forced"
    return Prefetch(True)


def assert_threads_end() -> None:
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith(NAME):
            thread.join(timeout=10)
            assert not thread.is_alive()


class Calls:
    """Of `sample` for training documents: (first document, whether made ahead), in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: type[Any], delay: float = 0) -> None:
        self.seen: list[tuple[int, bool]] = []
        self.broken: Any = lambda task, index: False
        self.inside = 0
        real = kind.sample

        def sample(task: Any, rng: np.random.Generator, n: int, **how: Any) -> Batch:
            assert not self.inside, "two at once, though a task may be building what it keeps"
            self.inside += 1
            try:
                if (index := how.get("index")) is None:
                    return real(task, rng, n, **how)
                ahead = threading.current_thread().name.startswith(NAME)
                self.seen.append((index, ahead))
                time.sleep(delay)
                if self.broken(task, index):
                    raise ArithmeticError("nothing left to tell")
                return real(task, rng, n, **how)
            finally:
                self.inside -= 1

        monkeypatch.setattr(kind, "sample", sample)


def phased() -> RunConfig:
    """Weights that change, a last batch that is smaller, and evaluations between the steps."""
    components = {
        "useful": {"task": {"kind": "bios", "people": 12}},
        "junk": {"task": {"kind": "bios", "people": 50, "apart_from": 12}, "weight": 3},
    }
    task = Mixture.model_validate({"components": components, "exposures_of": "useful"})
    phases = (Phase(until_step=3, weights={"junk": 1}), Phase(until_exposure=2, loops=1))
    observe = {"probes": (), "log_every": 1, "evaluate_every": 3, "evaluate_with": (Capacity(),)}
    return config(
        task=task,
        training=Training(batch=11, lr=1e-2, phases=phases),
        observe={**observe, "checkpoint_seconds": 1000},
        model=LoopedConfig(width=16, heads=2, loops=2),
    )


def run(path: Path, wanted: RunConfig, stop_at: int | None = None) -> RunFolder:
    folder = RunFolder(path / wanted.run_id)
    steps = iter(range(1, 10**6))
    assert train(wanted, folder, stop=lambda: next(steps) == stop_at) == (stop_at is None)
    return folder


def test_a_run_is_bit_for_bit_the_same_across_phases_and_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    wanted = phased()
    calls = Calls(monkeypatch, Mixture)
    plain = run(tmp_path / "plain", wanted)
    needed, last = [index for index, _ in calls.seen], Trainer(wanted, "cpu").last_step
    assert len(needed) == last > 6 and not any(ahead for _, ahead in calls.seen)
    request.getfixturevalue("forced")
    calls.seen.clear()
    assert_same_run(run(tmp_path / "ahead", wanted), plain)
    assert calls.seen == [(index, i > 0) for i, index in enumerate(needed)]
    calls.seen.clear()
    run(tmp_path / "resumed", wanted, stop_at=5)
    assert_same_run(run(tmp_path / "resumed", wanted), plain)
    begun = [*enumerate(needed[:6]), *enumerate(needed[5:])]
    assert calls.seen == [(index, i > 0) for i, index in begun]


def test_it_is_made_before_the_step_returns_and_not_beyond_the_last(
    monkeypatch: pytest.MonkeyPatch, forced: None
) -> None:
    calls = Calls(monkeypatch, MultiHop, delay=0.03)
    trainer = Trainer(config(steps=4), "cpu")
    counts = []
    for _ in range(4):
        trainer.step(trainer.spans[0])
        assert not calls.inside
        counts.append(len(calls.seen))
    assert counts == [2, 3, 4, 4]


def test_going_back_takes_the_batch_of_that_step(forced: None) -> None:
    trainer, other = (Trainer(config(), "cpu") for _ in range(2))
    span = trainer.spans[0]
    trainer.step(span)
    state = {k: torch.clone(v) for k, v in trainer.model.state_dict().items()}
    for _ in range(2):
        trainer.step(span)
    trainer.model.load_state_dict(state)
    trainer.counters.step = 1
    other.model.load_state_dict(state)
    other.counters.step = 1
    assert torch.equal(trainer.step(span).total, other.step(span).total)


@pytest.mark.parametrize("first", [0, 3])
def test_an_error_comes_at_its_own_step(
    monkeypatch: pytest.MonkeyPatch, forced: None, first: int
) -> None:
    calls = Calls(monkeypatch, MultiHop)
    calls.broken = lambda task, index: index >= 16 * first
    trainer = Trainer(config(), "cpu")
    for _ in range(first):
        trainer.step(trainer.spans[0])
    for _ in range(2):  # again, if it is asked for again
        with pytest.raises(ArithmeticError, match="nothing left"):
            trainer.step(trainer.spans[0])
        assert trainer.counters.step == first
    calls.broken = lambda task, index: False
    trainer.step(trainer.spans[0])
    assert trainer.counters.step == first + 1


def test_an_error_of_the_step_itself_waits_for_what_is_being_made(
    monkeypatch: pytest.MonkeyPatch, forced: None
) -> None:
    calls = Calls(monkeypatch, MultiHop, delay=0.03)
    trainer = Trainer(config(), "cpu")
    monkeypatch.setattr(trainer.optimiser, "step", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.step(trainer.spans[0])
    assert not calls.inside and len(calls.seen) == 2


def test_a_stack_is_bit_for_bit_the_same(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    calls, found = Calls(monkeypatch, MultiHop), []
    phases = (Phase(until_step=2), Phase(until_step=5, loops=1))
    runs = [config(seed, training=Training(batch=16, phases=phases)) for seed in range(3)]
    for ahead in (False, True):
        if ahead:
            request.getfixturevalue("forced")
        stack = JointRuns([Trainer(wanted, "cpu") for wanted in runs])
        losses = [loss.total for index in (0, 0, 1, 1, 1) for loss in stack.step(index)]
        found.append([*losses, *(w.detach() for w in stack.weights.values())])
        made = [(16 * step, ahead and step > 0) for step in range(5) for _ in runs]
        assert calls.seen == made
        calls.seen.clear()
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_an_error_of_one_in_a_stack_is_that_of_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forced: None
) -> None:
    runs = [config(seed) for seed in (1, 2, 3)]
    folders = [RunFolder(tmp_path / wanted.run_id) for wanted in runs]
    for folder, wanted in zip(folders, runs, strict=True):
        folder.freeze(wanted)
    calls = Calls(monkeypatch, MultiHop)
    calls.broken = lambda task, index: task.seed == 2 and index >= 16 * 3
    job = Job(folder=folders[0].path, beside=tuple(f.path for f in folders[1:]))
    outcomes = {outcome.run_id: outcome for outcome in perform(job, StopFlag())}
    assert [outcomes[f.run_id].ended for f in folders] == ["done", "failed", "done"]
    assert "nothing left to tell" in outcomes[folders[1].run_id].reason
    assert len(folders[1].metrics()) == 4, "three steps and an evaluation"
    assert any(ahead for _, ahead in calls.seen)


def test_waiting_for_data_is_booked_as_data(monkeypatch: pytest.MonkeyPatch, forced: None) -> None:
    Calls(monkeypatch, MultiHop, delay=0.6)  # several times what a step takes on a loaded machine
    trainer = Trainer(config(objective=Entropy()), "cpu")  # with nothing beside it
    wall = Clock(torch.device("cpu"))
    monkeypatch.setattr(Clock, "__call__", lambda clock: time.perf_counter())
    steps, parts = _contenders(trainer, wall)
    start = time.perf_counter()
    for _ in range(3):
        steps["loopscope"]()
    spent = time.perf_counter() - start
    assert {len(found) for found in parts.values()} == {3} and set(parts) == set(PARTS)
    assert sum(map(sum, parts.values())) == pytest.approx(spent, rel=0.05)
    assert min(parts["data"][1:]) > 0.1
