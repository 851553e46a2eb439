"""Runs of a few seconds, in processes that a test can kill."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import toys

from experiments.config.run import Observe, RunConfig
from experiments.execution import executor
from experiments.execution.runner import GridOutcome, run_grid
from experiments.runs.folder import RunFolder
from probes.accuracy import Accuracy

ROOT = str(Path(executor.__file__).parents[2])
STEPS = 600
OBSERVE = Observe(probes=(Accuracy(items=16),), log_every=100, checkpoint_seconds=0.2)

#: runs the configs given as JSON files, as a user's command would
SCRIPT = """
import sys
from pathlib import Path
from experiments.cli import main as cli
from experiments.config.run import RunConfig
from experiments.grid.grid import Grid, GridPoint
from experiments.execution.runner import run_grid

configs = [RunConfig.model_validate_json(Path(file).read_text()) for file in sys.argv[3:]]
grid = Grid("toy", "Toy", (), tuple(GridPoint(c, c.run_id, "", {}) for c in configs))

def app(prog_name):
    retry = sys.argv[2] == "retry"
    sys.exit(run_grid(grid, sys.argv[1], workers=2, retry_failed=retry).exit_status)

cli.app = app
cli.main()
"""


#: a task whose steps take a while, or do not end, as long as there is a file of that name beside it
HELD = """
import time
from pathlib import Path
from typing import Literal
from generators.multihop import MultiHop

class Held(MultiHop):
    kind: Literal["held"] = "held"

    def sample(self, rng, n, **options):
        if Path(__file__).with_name("slow").exists():
            time.sleep(0.25)
        while Path(__file__).with_name("stuck").exists():
            time.sleep(0.02)
        return super().sample(rng, n, **options)
"""


def held_task(tmp_path: Path) -> dict[str, Any]:
    """Fields of a task with which no test comes too late, however busy the machine is."""
    plugin = tmp_path / "held.py"
    plugin.write_text(HELD)
    return {"kind": f"{plugin}:Held", "entities": 8, "relations": 4, "hops": 2}


def config(seed: int = 0, steps: int = STEPS, batch: int = 64, **changes: Any) -> RunConfig:
    return toys.config(seed, steps, batch, **{"observe": OBSERVE, **changes})


def wait_until(what: Callable[[], Any], seconds: float = 300) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.02)
    pytest.fail("waited in vain")


def halfway(folder: RunFolder) -> int | None:
    """The process of a run that has a checkpoint and is not done."""
    status = folder.status()
    if status is None or status.state != "running" or not status.checkpoint_step:
        return None
    return status.pid if status.checkpoint_step < status.last_step else None


class Background(threading.Thread):
    """`run_grid` beside a test."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(daemon=True)
        self.arguments, self.options = arguments, options
        self.start()

    def run(self) -> None:
        self.found = run_grid(*self.arguments, progress=False, **self.options)

    def outcome(self, seconds: float = 300) -> GridOutcome:
        self.join(seconds)
        return self.found


Start = Callable[..., subprocess.Popen[str]]


@contextmanager
def commands(tmp_path: Path) -> Iterator[Start]:
    """What starts a user's command on given configs; all have ended afterwards."""
    started: list[subprocess.Popen[str]] = []

    def command(
        *configs: RunConfig, out: Path = tmp_path / "out", retry: bool = False, **options: Any
    ) -> subprocess.Popen[str]:
        files = [tmp_path / f"{c.run_id}.json" for c in configs]
        for file, c in zip(files, configs, strict=True):
            file.write_text(c.model_dump_json())
        wanted = [str(out), "retry" if retry else "-", *map(str, files)]
        before = options.pop("before", ())
        process = subprocess.Popen(
            [*before, sys.executable, "-c", SCRIPT, *wanted],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": ROOT},
            **options,
        )
        started.append(process)
        return process

    yield command
    for process in started:
        process.kill()
        process.communicate()


def finish(command: subprocess.Popen[str], status: int = 0) -> str:
    _, said = command.communicate(timeout=300)
    assert command.returncode == status, said
    assert "Traceback" not in said
    return said
