"""What a run writes down of its own time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from training import TRAINING, config

from experiments.config.run import Observe, Phase, Span
from experiments.runs.folder import RunFolder
from experiments.training.train import train
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


def slow_step(trainer: Trainer, span: Span) -> Loss:
    Watch.now += 1
    return trainer.step(span)


@pytest.fixture
def clock() -> Iterator[type[Watch]]:
    Watch.now = 0.0
    yield Watch


@pytest.mark.parametrize("stop_at", [None, 3])
def test_training_and_evaluation_are_booked_apart(
    tmp_path: Path, clock: type[Watch], stop_at: int | None
) -> None:
    """Ten steps of a second, evaluations of 1000 seconds after steps 4, 8 and 10."""
    observe = Observe(
        probes=(), evaluate_with=(Slow(),), evaluate_every=4, log_every=1, checkpoint_seconds=1000
    )
    training = TRAINING.model_copy(update={"phases": (Phase(until_step=10),)})
    run, folder = config(observe=observe, training=training), RunFolder(tmp_path / "run")
    options: dict[str, Any] = {"step": slow_step, "clock": clock.read}
    if stop_at is not None:
        asked = iter(range(1, 99))
        assert not train(run, folder, stop=lambda: next(asked) == stop_at, **options)
        clock.now += 5000  # nobody trains meanwhile
    assert train(run, folder, **options)
    result = folder.result()
    assert result is not None
    timings = result["timings"]
    assert timings["train_seconds"] == pytest.approx(10)
    assert timings["evaluate_seconds"] == pytest.approx(3000)
    assert timings["cpu_seconds"] == pytest.approx(3010 / 2)
    assert timings["wall_seconds"] == pytest.approx(3010)
    assert timings["tokens_per_second"] == pytest.approx(result["tokens"] / 10)
    lines = [line for line in folder.metrics() if "loss" in line]
    assert [line["seconds"] for line in lines] == pytest.approx(list(range(1, 11)))
