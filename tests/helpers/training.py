"""A run of seconds, trained in as many sittings as a test asks for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from experiments.config.phases import Phase, Training
from experiments.config.run import Observe, RunConfig
from experiments.runs.folder import RunFolder
from experiments.training.train import train
from generators.multihop import MultiHop
from models.config import LoopedConfig
from probes.accuracy import Accuracy

STEPS = 40
TRAINING = Training(batch=32, lr=4e-3, phases=(Phase(until_step=STEPS, warmup=5, decay="sqrt"),))
TINY_PROBE = Accuracy(items=16)


def config(**changes: Any) -> RunConfig:
    fields = {
        "task": MultiHop(entities=8, relations=4, hops=2),
        "model": LoopedConfig(width=16, heads=2, loops=2),
        "training": TRAINING,
        "observe": Observe(probes=(TINY_PROBE,), log_every=7, checkpoint_seconds=1000),
    }
    return RunConfig.model_validate(fields | changes)


def stop_after(steps: int) -> Callable[[], bool]:
    """True from the `steps`-th time it is asked."""
    calls = iter(range(1, 1_000_000))
    return lambda: next(calls) >= steps


def trained(path: Path, run: RunConfig, *stops: int, **options: Any) -> RunFolder:
    """A finished run that was stopped after so many steps of each sitting."""
    folder = RunFolder(path / run.run_id)
    for steps in stops:
        assert not train(run, folder, stop=stop_after(steps), **options)
    assert train(run, folder, **options)
    return folder


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return torch.load(folder.checkpoint_path, weights_only=True)["model"]


def science(folder: RunFolder) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Result and metrics without timings."""
    result = folder.result()
    assert result is not None
    lines = [{k: v for k, v in line.items() if k != "seconds"} for line in folder.metrics()]
    return {k: v for k, v in result.items() if k != "timings"}, lines


def assert_same_run(one: RunFolder, other: RunFolder) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert science(one) == science(other)


def checkpointed(path: Path, *steps: int) -> RunFolder:
    folder = RunFolder(path / config().run_id)
    for count in steps:
        assert not train(config(), folder, stop=stop_after(count))
    return folder
