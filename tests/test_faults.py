"""Killed workers, killed parents, Ctrl-C: nothing is lost and the run is the same run.

These tests train real processes and kill them; they are marked `faults`.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments import executor
from experiments.claim import _is_alive
from experiments.config import Observe, Phase, RunConfig, Training
from experiments.runner import GridOutcome, run_grid
from experiments.store import RunFolder
from experiments.train import train
from generators.multihop import MultiHop
from models.config import LoopedConfig

pytestmark = pytest.mark.faults

ROOT = str(Path(executor.__file__).parents[1])
STEPS = 1200

#: runs the configs given as JSON files, as a user's command would
SCRIPT = """
import sys
from pathlib import Path
from types import SimpleNamespace as Namespace
from experiments.config import RunConfig
from experiments.runner import run_grid

points = []
for file in sys.argv[2:]:
    config = RunConfig.model_validate_json(Path(file).read_text())
    points.append(Namespace(config=config, run_id=config.run_id, part="", labels={}))
grid = Namespace(name="toy", title="Toy", figures=[], points=points)
sys.exit(run_grid(grid, sys.argv[1], workers=2).exit_status)
"""

DEADLY_TASK = """
import os, signal
from typing import Literal
from generators.multihop import MultiHop

class Deadly(MultiHop):
    kind: Literal["deadly"] = "deadly"

    def sample(self, rng, n, **options):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def config(seed: int = 0, **changes: Any) -> RunConfig:
    fields = {
        "task": MultiHop(entities=8, relations=4, hops=2),
        "model": LoopedConfig(width=16, heads=2, loops=2),
        "training": Training(batch=64, lr=4e-3, phases=(Phase(until_step=STEPS, decay="sqrt"),)),
        "observe": Observe(probes=(), log_every=100, checkpoint_seconds=0.2),
        "seed": seed,
    }
    return RunConfig.model_validate(fields | changes)


@dataclass
class Point:
    config: RunConfig
    part: str = ""
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return self.config.run_id


@dataclass
class Toy:
    points: tuple[Point, ...]
    name: str = "toy"
    title: str = "Toy"
    figures: tuple[dict[str, Any], ...] = ()


def toy(*configs: RunConfig) -> Any:
    return Toy(tuple(Point(c) for c in configs))


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("straight") / config().run_id)
    assert train(config(), folder)
    return folder


def assert_same_run(one: RunFolder, other: RunFolder) -> None:
    a, b = (torch.load(f.checkpoint_path, weights_only=True)["model"] for f in (one, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
    lines = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in f.metrics()]
        for f in (one, other)
    ]
    assert lines[0] == lines[1]


def wait_until(what: Callable[[], Any], seconds: float = 60) -> Any:
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
    """`run_grid` beside the test."""

    def __init__(self, grid: Any, out: Path, **options: Any) -> None:
        super().__init__(daemon=True)
        self.grid, self.out, self.options = grid, out, options

    def run(self) -> None:
        self.found = run_grid(self.grid, self.out, progress=False, **self.options)

    def outcome(self) -> GridOutcome:
        self.join(120)
        return self.found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a user's command on the given configs."""
    started: list[subprocess.Popen[str]] = []

    def command(*configs: RunConfig) -> subprocess.Popen[str]:
        files = [tmp_path / f"{c.seed}.json" for c in configs]
        for file, c in zip(files, configs, strict=True):
            file.write_text(c.model_dump_json())
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "out"), *map(str, files)],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": ROOT},
        )
        started.append(process)
        return process

    yield command
    for process in started:
        process.kill()
        process.communicate()


def test_a_killed_worker_is_replaced_and_the_run_is_the_same(
    tmp_path: Path, straight: RunFolder
) -> None:
    folder = RunFolder(tmp_path / straight.run_id)
    grid = Background(toy(config(0), config(1)), tmp_path, workers=2)
    grid.start()
    first = wait_until(lambda: halfway(folder))
    os.kill(first, signal.SIGKILL)
    second = wait_until(lambda: (pid := halfway(folder)) != first and pid)
    os.kill(second, signal.SIGKILL)
    outcome = grid.outcome()
    assert set(outcome.done) == {config(0).run_id, config(1).run_id}
    assert_same_run(straight, folder)
    log = (folder.path / "log.txt").read_text()
    assert log.count("its worker died (killed") == 2
    assert log.count("resumes at step") == 2


def test_a_run_that_kills_its_workers_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    plugin = tmp_path / "deadly.py"
    plugin.write_text(DEADLY_TASK)
    task = {"kind": f"{plugin}:Deadly", "entities": 8, "relations": 4, "hops": 2}
    deadly, good = config(task=task), config(1)
    outcome = run_grid(toy(deadly, good), tmp_path / "out", workers=2, progress=False)
    assert outcome.done == (good.run_id,)
    assert [failure.run_id for failure in outcome.failed] == [deadly.run_id]
    assert "its worker died 4 times" in outcome.failed[0].reason


def test_ctrl_c_leaves_every_run_resumable(
    tmp_path: Path, straight: RunFolder, start: Callable[..., subprocess.Popen[str]]
) -> None:
    configs = [config(seed) for seed in range(3)]
    folders = [RunFolder(tmp_path / "out" / c.run_id) for c in configs]
    command = start(*configs)
    pids = [wait_until(lambda f=folder: halfway(f)) for folder in folders[:2]]
    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=60)
    assert command.returncode == 130
    assert "Traceback" not in said and "stopping: runs write their checkpoints" in said
    assert not any(_is_alive(pid) for pid in pids)
    for folder in folders[:2]:
        status = folder.status()
        assert status is not None and status.state == "stopped"
        assert status.checkpoint_step == status.step, "not a step is lost"
        assert folder.state() == "resumable"
    again = start(*configs)
    _, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert_same_run(straight, folders[0])


def test_workers_end_with_their_parent(
    tmp_path: Path, straight: RunFolder, start: Callable[..., subprocess.Popen[str]]
) -> None:
    folder = RunFolder(tmp_path / "out" / config().run_id)
    run = config(observe=Observe(probes=(), log_every=100, checkpoint_seconds=0.2))
    command = start(run)
    pid = wait_until(lambda: halfway(folder))
    command.kill()
    command.wait()
    again = start(run)  # at once: it waits until the orphan has let go
    _, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    wait_until(lambda: not _is_alive(pid), 10)
    assert_same_run(straight, folder)


def test_two_commands_on_one_folder_do_every_run_once(
    tmp_path: Path, straight: RunFolder, start: Callable[..., subprocess.Popen[str]]
) -> None:
    configs = [config(seed) for seed in range(4)]
    commands = [start(*configs), start(*configs)]
    for command in commands:
        command.communicate(timeout=180)
        assert command.returncode == 0
    for c in configs:
        folder = RunFolder(tmp_path / "out" / c.run_id)
        log = (folder.path / "log.txt").read_text()
        assert log.count("starts on cpu") == 1 and "resumes" not in log
        assert [line["step"] for line in folder.metrics()] == list(range(100, STEPS + 1, 100))
    assert_same_run(straight, RunFolder(tmp_path / "out" / configs[0].run_id))
