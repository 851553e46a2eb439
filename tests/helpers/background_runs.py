"""Grids of short runs on any back end, worked on beside a test."""

import threading
import time
from typing import Any

import pytest
import torch

from experiments.config.phases import Phase, Training
from experiments.config.run import Observe, RunConfig
from experiments.execution.runner import GridOutcome, run_grid
from experiments.grid.grid import Grid, GridPoint
from experiments.runs.folder import RunFolder
from generators.multihop import MultiHop
from models.config import LoopedConfig
from probes.accuracy import Accuracy


def toy(*configs: RunConfig) -> Grid:
    points = [GridPoint(run, run.run_id, "", {}) for run in configs]
    return Grid("toy", "Toy", (), tuple(points))


def config(seed: int = 0, steps: int = 20, **changes: Any) -> RunConfig:
    fields: dict[str, Any] = {
        "task": MultiHop(entities=8, relations=4, hops=2),
        "model": LoopedConfig(width=16, heads=2),
        "training": Training(batch=16, phases=(Phase(until_step=steps),)),
        "observe": Observe(
            probes=(Accuracy(items=16),), log_every=max(steps // 4, 1), checkpoint_seconds=0.2
        ),
        "seed": seed,
    }
    return RunConfig.model_validate(fields | changes)


def assert_same_run(one: RunFolder, other: RunFolder) -> None:
    a, b = (torch.load(f.checkpoint_path, weights_only=True)["model"] for f in (one, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    results = [f.result() or {} for f in (one, other)]
    assert all(result.pop("timings") for result in results)
    assert results[0] == results[1]


def wait_for_process(folder: RunFolder, seconds: float = 60) -> int:
    """The process of a run that has a checkpoint and is not done."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        status = folder.status()
        running = status is not None and status.state == "running"
        if running and 0 < status.checkpoint_step < status.last_step:
            return status.pid
        time.sleep(0.02)
    pytest.fail("the run never reached a checkpoint")


class Background(threading.Thread):
    """`run_grid` beside the test."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(daemon=True)
        self.arguments, self.options = arguments, options
        self.start()

    def run(self) -> None:
        self.found = run_grid(*self.arguments, progress=False, **self.options)

    def outcome(self, seconds: float = 120) -> GridOutcome:
        self.join(seconds)
        return self.found
