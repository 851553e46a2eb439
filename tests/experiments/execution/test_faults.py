"""Killed workers, killed parents, full disks, want of memory: nothing is lost, and the run is the
same run.

These tests train real processes and kill them; they are marked `faults`.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import STEPS, Background, Start, commands, config, finish, halfway, wait_until
from toys import assert_same_run, toy

from experiments.execution import executor, runner
from experiments.execution.backends.local import LocalBackend
from experiments.execution.runner import run_grid
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import read_json, write_json
from experiments.runs.lock import STALE_AFTER, _is_alive
from experiments.training.train import train

pytestmark = pytest.mark.faults

# what plans the runs asks for documents too
DEADLY_TASK = """
import os, signal, sys
from typing import Literal
from generators.multihop import MultiHop

class Deadly(MultiHop):
    kind: Literal["deadly"] = "deadly"

    def sample(self, rng, n, **options):
        if "experiments.execution.worker" in sys.orig_argv:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(rng, n, **options)
"""


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("straight") / config().run_id)
    assert train(config(), folder)
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with commands(tmp_path) as command:
        yield command


# --- workers


class Killer:
    """Kills workers of a grid at moments drawn from a seed: while they start, train and measure.

    A run is spared once it has been killed twice without reaching a new checkpoint, since after
    the fourth time it would rightly be given up.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        self.random = random.Random(seed)
        self.backends: list[LocalBackend] = []
        self.executors: list[executor.Executor] = []
        self.kills = 0
        made, began = LocalBackend.__init__, executor.Executor.run

        def made_here(backend: LocalBackend, *arguments: Any) -> None:
            made(backend, *arguments)
            self.backends.append(backend)

        def began_here(one: executor.Executor, folders: Any) -> bool:
            self.executors.append(one)
            return began(one, folders)

        monkeypatch.setattr(LocalBackend, "__init__", made_here)
        monkeypatch.setattr(runner.Executor, "run", began_here)

    def kill(self, times: int, grid: Background, longest: float) -> None:
        """Until so many were killed or the grid is done; between two, up to `longest` seconds."""
        while self.kills < times and grid.is_alive():
            time.sleep(self.random.uniform(0, longest))
            slots = [s for b in self.backends for s in b.slots]
            busy = [s for s in slots if s.folders and all(map(self._may_die, s.folders))]
            if not busy:
                continue
            slot = self.random.choice(busy)
            if slot.process is not None and slot.process.poll() is None:
                slot.process.kill()
                self.kills += 1
                wait_until(lambda died=slot.process: died.poll() is not None)

    def _may_die(self, folder: RunFolder) -> bool:
        count, before = self.executors[-1].deaths.get(folder.run_id, (0, 0))
        status = folder.status()
        return count < 2 or (status is not None and status.checkpoint_step > before)


@pytest.mark.parametrize(
    ("kills", "runs", "steps"),
    [
        pytest.param(8, 2, 800, id="8"),
        pytest.param(200, 10, 5000, id="200", marks=pytest.mark.slow),
    ],
)
def test_workers_killed_at_random_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int, runs: int, steps: int
) -> None:
    configs = [config(seed, steps) for seed in range(runs)]
    began = time.monotonic()
    undisturbed = [RunFolder(tmp_path / "straight" / c.run_id) for c in configs]
    assert (
        run_grid(toy(*configs), tmp_path / "straight", workers=2, progress=False).exit_status == 0
    )
    killer = Killer(monkeypatch, seed=kills)
    grid = Background(toy(*configs), tmp_path / "out", workers=2)
    folders = [RunFolder(tmp_path / "out" / c.run_id) for c in configs]
    startup = time.monotonic()
    wait_until(lambda: any(halfway(folder) for folder in folders))
    startup = time.monotonic() - startup
    killer.kill(kills, grid, longest=0.8 * startup)
    outcome = grid.outcome(3000)
    assert set(outcome.done) == {c.run_id for c in configs}, outcome.failed
    assert killer.kills == kills, "the runs were too short"
    logs = "".join((folder.path / "log.txt").read_text() for folder in folders)
    assert logs.count("its worker died (killed") == kills
    for folder, other in zip(folders, undisturbed, strict=True):
        assert_same_run(folder, other)
    resumed = logs.count("resumes at step")
    print(f"{kills} kills, {resumed} resumed, {time.monotonic() - began:.0f} s")


@pytest.mark.slow
def test_a_run_that_kills_its_workers_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    plugin = tmp_path / "deadly.py"
    plugin.write_text(DEADLY_TASK)
    task = {"kind": f"{plugin}:Deadly", "entities": 8, "relations": 4, "hops": 2}
    deadly, good = config(steps=20, task=task), config(1, 20)
    outcome = run_grid(toy(deadly, good), tmp_path / "out", workers=2, progress=False)
    assert outcome.done == (good.run_id,)
    assert [failure.run_id for failure in outcome.failed] == [deadly.run_id]
    assert "its worker died 4 times" in outcome.failed[0].reason


# --- parents and machines


def test_ctrl_c_leaves_every_run_resumable(
    tmp_path: Path, straight: RunFolder, start: Start
) -> None:
    configs = [config(seed) for seed in range(3)]
    folders = [RunFolder(tmp_path / "out" / c.run_id) for c in configs]
    command = start(*configs)
    pids = [wait_until(lambda f=folder: halfway(f)) for folder in folders[:2]]
    command.send_signal(signal.SIGINT)
    said = finish(command, 130)
    assert "stopping: runs write their checkpoints" in said
    assert not any(_is_alive(pid) for pid in pids)
    for folder in folders[:2]:
        status = folder.status()
        assert status is not None and status.state == "stopped"
        assert status.checkpoint_step == status.step, "not a step is lost"
        assert folder.state() == "resumable"
    finish(start(*configs))
    assert_same_run(straight, folders[0])


def test_workers_end_with_their_parent(tmp_path: Path, straight: RunFolder, start: Start) -> None:
    folder = RunFolder(tmp_path / "out" / config().run_id)
    command = start(config())
    pid = wait_until(lambda: halfway(folder))
    command.kill()
    command.wait()
    finish(start(config()))  # at once: it waits until the orphan has let go
    wait_until(lambda: not _is_alive(pid), 10)
    assert_same_run(straight, folder)
    assert "Traceback" not in (folder.path / "log.txt").read_text()


@pytest.mark.parametrize("elsewhere", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_everything_is_gone_at_once_as_when_a_machine_goes_down(
    tmp_path: Path, straight: RunFolder, start: Start, elsewhere: bool
) -> None:
    """Claims are left, of processes that are gone or of another machine."""
    configs = [config(0), config(1)]
    folders = [RunFolder(tmp_path / "out" / c.run_id) for c in configs]
    command = start(*configs)
    pids = [wait_until(lambda f=folder: halfway(f)) for folder in folders]
    command.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    command.wait()
    wait_until(lambda: not any(_is_alive(pid) for pid in pids))
    for folder in folders:
        owner = read_json(folder.lock_path)
        assert owner is not None, "a claim is left"
        if elsewhere:
            write_json(folder.lock_path, owner | {"machine": "another", "pid": os.getpid()})
            assert folder.state() == "running"
            then = time.time() - STALE_AFTER - 1
            os.utime(folder.lock_path, (then, then))
        assert folder.state() == "resumable"
    finish(start(*configs))
    assert_same_run(straight, folders[0])


def test_two_commands_on_one_folder_do_every_run_once(
    tmp_path: Path, straight: RunFolder, start: Start
) -> None:
    configs = [config(seed) for seed in range(3)]
    for command in [start(*configs), start(*configs)]:
        finish(command)
    for c in configs:
        folder = RunFolder(tmp_path / "out" / c.run_id)
        log = (folder.path / "log.txt").read_text()
        assert log.count("starts on cpu") == 1 and "resumes" not in log
        assert [line["step"] for line in folder.metrics()] == list(range(100, STEPS + 1, 100))
    assert_same_run(straight, RunFolder(tmp_path / "out" / configs[0].run_id))
