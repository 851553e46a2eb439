"""Runs of toy size, grids of them, and what makes two runs the same run."""

from typing import Any

import torch

from experiments.config.phases import Phase, Training
from experiments.config.run import Observe, RunConfig
from experiments.grid.grid import Grid, GridPoint
from experiments.runs.folder import RunFolder
from generators.multihop import MultiHop
from models.config import LoopedConfig
from probes.accuracy import Accuracy

TIMES = ("seconds", "cpu_seconds", "timings")


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
