"""What a run writes down of its own time."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from training import TRAINING, config

from experiments.config.phases import Phase, Span
from experiments.config.run import Observe, RunConfig
from experiments.runs.folder import RunFolder
from experiments.training.steps import run_to_end
from experiments.training.train import proceed, started
from experiments.training.trainer import Trainer
from generators.task import Task
from models.objectives.objective import Loss
from probes.probe import Measurement, Probe, Subject


class Watch:
    """A clock that stands still but for what a test says; the processor runs at half its speed."""

    now: ClassVar[float] = 0.0

    @classmethod
    def read(cls) -> tuple[float, float]:
        return cls.now, cls.now / 2


class Slow(Probe):
    """Takes 1000 seconds."""

    kind: Literal["slow"] = "slow"

    @classmethod
    def applies(cls, task: Task) -> bool:
        return True

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        Watch.now += 1000
        return (Measurement("nothing", 0.0, 1),)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Watch]:
    """Every step takes a second."""
    Watch.now = 0.0
    step = Trainer.step

    def slow(trainer: Trainer, span: Span) -> Loss:
        Watch.now += 1
        return step(trainer, span)

    monkeypatch.setattr(Trainer, "step", slow)
    return Watch


def timed(run: RunConfig, folder: RunFolder, stop: Callable[[], bool]) -> bool:
    """`train` by that clock."""
    with started(run, folder, "cpu", False, print, Watch.read) as recorder:
        return run_to_end(proceed(recorder, stop))


@pytest.mark.parametrize("log_every", [1, 3])
@pytest.mark.parametrize("stop_at", [None, 3])
def test_training_and_evaluation_are_booked_apart(
    tmp_path: Path, clock: type[Watch], stop_at: int | None, log_every: int
) -> None:
    """Ten steps of a second, evaluations of 1000 seconds after steps 4, 8 and 10."""
    observe = Observe(
        probes=(),
        evaluate_with=(Slow(),),
        evaluate_every=4,
        log_every=log_every,
        checkpoint_seconds=1000,
    )
    training = TRAINING.model_copy(update={"phases": (Phase(until_step=10),)})
    run, folder = config(observe=observe, training=training), RunFolder(tmp_path / "run")
    if stop_at is not None:
        asked = iter(range(1, 99))
        assert not timed(run, folder, lambda: next(asked) == stop_at)
        clock.now += 5000  # nobody trains meanwhile
    assert timed(run, folder, lambda: False)
    result = folder.result()
    assert result is not None
    timings = result["timings"]
    assert timings["train_seconds"] == pytest.approx(10)
    assert timings["evaluate_seconds"] == pytest.approx(3000)
    assert timings["cpu_seconds"] == pytest.approx(3010 / 2)
    assert timings["wall_seconds"] == pytest.approx(3010)
    assert timings["tokens_per_second"] == pytest.approx(result["tokens"] / 10)
    looks = [m for m in folder.metrics() if "measurements" in m]
    seconds = [4, 8 + 1000, 10 + 2000]  # of the steps and of the evaluations before each
    assert [m["cpu_seconds"] for m in looks] == pytest.approx([s / 2 for s in seconds])
    lines = [line for line in folder.metrics() if "loss" in line]
    assert lines and all(line["seconds"] == pytest.approx(line["step"]) for line in lines)
