"""Runs of toy size, grids of them, and what makes two runs the same run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from experiments.config.phases import Phase, Training
from experiments.config.run import Observe, RunConfig
from experiments.grid.grid import Grid, GridPoint
from experiments.runs.folder import RunFolder
from experiments.training.train import train
from generators.multihop import MultiHop
from models.config import LoopedConfig
from probes.accuracy import Accuracy

TIMES = ("seconds", "cpu_seconds", "timings", "checksums")


def config(seed: int = 0, steps: int = 6, batch: int = 16, **changes: Any) -> RunConfig:
    """A run of milliseconds that is looked at, logged and saved at every step."""
    probe = Accuracy(items=16)
    fields: dict[str, Any] = {
        "task": MultiHop(entities=8, relations=4, hops=2),
        "model": LoopedConfig(width=16, heads=2, loops=2),
        "training": Training(batch=batch, lr=4e-3, phases=(Phase(until_step=steps, decay="sqrt"),)),
        "observe": Observe(
            probes=(probe,),
            log_every=1,
            evaluate_every=2,
            evaluate_with=(probe,),
            checkpoint_seconds=1e-9,
        ),
        "seed": seed,
    }
    return RunConfig.model_validate(fields | changes)


def toy(*configs: RunConfig) -> Grid:
    """A grid of these runs."""
    points = (GridPoint(c, c.run_id, "", {"seed": str(c.seed)}) for c in configs)
    return Grid("toy", "Toy", (), tuple(points))


def frozen(path: Path, *runs: RunConfig) -> list[RunFolder]:
    """Folders of runs that nobody has begun."""
    folders = [RunFolder(path / run.run_id) for run in runs]
    for folder, run in zip(folders, runs, strict=True):
        folder.freeze(run)
    return folders


def stop_after(steps: int) -> Callable[[], bool]:
    """True from the `steps`-th time it is asked."""
    calls = iter(range(1, 1_000_000))
    return lambda: next(calls) >= steps


def trained(path: Path, run: RunConfig, *stops: int) -> RunFolder:
    """A finished run that was stopped after so many steps of each sitting."""
    folder = RunFolder(path / run.run_id)
    for steps in stops:
        assert not train(run, folder, stop=stop_after(steps))
    assert train(run, folder)
    return folder


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return torch.load(folder.checkpoint_path, weights_only=True)["model"]


def science(folder: RunFolder) -> dict[str, Any]:
    """Everything that a finished run says but times."""
    result = folder.result()
    assert result is not None, f"{folder.path} has no result"
    lines = [{k: v for k, v in line.items() if k not in TIMES} for line in folder.metrics()]
    return {"metrics": lines, **{k: v for k, v in result.items() if k not in TIMES}}


def assert_same_run(one: RunFolder, other: RunFolder) -> None:
    """Bit for bit: weights, what was logged on the way, and what was measured."""
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert science(one) == science(other)
