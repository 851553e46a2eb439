"""The Ray back end: the runs of the local one, bit for bit, whatever dies."""

import importlib.util
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import config, held_task
from toys import assert_same_run, toy

from experiments.config.phases import Phase, Training
from experiments.execution.backends.options import RayOptions
from experiments.execution.runner import run_grid
from experiments.runs.folder import RunFolder
from experiments.training.train import train

pytestmark = [
    pytest.mark.ray,
    # collected and then skipped: a run of these tests alone is no error where there is no Ray
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the ray extra"),
]
#: seconds that a busy machine may need to start a node, or a worker
PATIENCE = 180
# Ray's own limit for a node, which it reads when it is imported
os.environ.setdefault("RAY_raylet_start_wait_time_s", str(PATIENCE))
#: times that a cluster is tried to start
ATTEMPTS = 3
#: of one node, in bytes; the smallest that Ray allows
STORE = 80 * 2**20


def test_a_grid_is_that_of_the_local_back_end(tmp_path: Path) -> None:
    bad = config(3, training=Training(batch=16, lr=1e39, phases=(Phase(until_step=20),)))
    grid = toy(*(config(seed, 20) for seed in range(3)), bad)
    options = RayOptions(workers=2, pack=2)
    there = run_grid(grid, tmp_path / "ray", backend=options, progress=False)
    here = run_grid(grid, tmp_path / "local", workers=1, progress=False)
    assert there == here and len(here.done) == 3 and "loss is" in here.failed[0].reason
    for run_id in here.done:
        assert_same_run(*(RunFolder(tmp_path / name / run_id) for name in ("ray", "local")))
    import ray

    assert not ray.is_initialized()


def test_runs_of_one_shape_share_a_task(tmp_path: Path) -> None:
    good = [config(seed, 20) for seed in range(3)]
    bad = config(3, training=good[0].training.model_copy(update={"lr": 1e39}))
    grid = toy(*good, bad)
    options = RayOptions(workers=1, stack=4)
    outcome = run_grid(grid, tmp_path, backend=options, progress=False)
    assert len(outcome.done) == 3 and [failed.run_id for failed in outcome.failed] == [bad.run_id]
    ids = {*outcome.done, bad.run_id}
    for run_id in ids:
        found = RunFolder(tmp_path / run_id).environment()
        assert found is not None and set(found["stacked_with"]) == ids - {run_id}


def three_nodes() -> Any:
    """A head and two others, of one core each."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE}
    head = node | {"include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            made.add_node(wait=False, **node)
        made.wait_for_nodes(PATIENCE)
    except BaseException:
        made.shutdown()
        raise
    return made


@pytest.fixture
def cluster() -> Iterator[Any]:
    for left in reversed(range(ATTEMPTS)):
        try:
            made = three_nodes()
            break
        except Exception:  # Ray raises many kinds
            if not left:
                raise
    try:
        yield made
    finally:
        made.shutdown()


def raylet_of(pid: int) -> int:
    """The process that started a worker."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it ended meanwhile
        return 0


class Killer(threading.Thread):
    """Kills a worker, then a node that works on another run and is not the head.

    Args:
        release: called once that is done, or cannot be done.
    """

    def __init__(
        self, cluster: Any, folders: list[RunFolder], release: Callable[[], object]
    ) -> None:
        super().__init__(daemon=True)
        self.cluster, self.folders, self.release = cluster, folders, release
        #: (what, id of the run it worked on)
        self.killed: list[tuple[str, str]] = []

    def run(self) -> None:
        try:
            self.kill(self.a_worker)
            self.kill(self.a_node)
        finally:
            self.release()

    def kill(self, some: Callable[[RunFolder, int], str]) -> None:
        """Tries runs that have a checkpoint, by their processes, until one was killed."""
        end = time.monotonic() + PATIENCE
        hit = {run_id for _, run_id in self.killed}
        while time.monotonic() < end:
            for folder in self.folders:
                status = folder.status()
                begun = status is not None and status.state == "running" and status.checkpoint_step
                if status is None or not begun or folder.run_id in hit:
                    continue
                if what := some(folder, status.pid):
                    self.killed.append((what, folder.run_id))
                    return
            time.sleep(0.02)

    def a_worker(self, folder: RunFolder, pid: int) -> str:
        os.kill(pid, signal.SIGKILL)
        return "worker"

    def a_node(self, folder: RunFolder, pid: int) -> str:
        nodes = {n.all_processes["raylet"][0].process.pid: n for n in self.cluster.worker_nodes}
        raylet = raylet_of(pid)
        if raylet not in nodes:
            return ""
        self.cluster.remove_node(nodes[raylet], allow_graceful=False)
        return "node"


def test_a_killed_worker_and_a_killed_node_lose_nothing(tmp_path: Path, cluster: Any) -> None:
    task = held_task(tmp_path)
    runs = [config(seed, steps=1500, batch=16, task=task) for seed in range(4)]
    folders = [RunFolder(tmp_path / "out" / run.run_id) for run in runs]
    slow = tmp_path / "slow"  # minutes for a run, until the second kill
    slow.touch()
    killer = Killer(cluster, folders, slow.unlink)
    killer.start()
    options = RayOptions(address=cluster.address)
    outcome = run_grid(toy(*runs), tmp_path / "out", backend=options, progress=False)
    killer.join()
    assert [what for what, _ in killer.killed] == ["worker", "node"]
    assert sorted(outcome.done) == sorted(run.run_id for run in runs) and not outcome.failed
    logs = {folder.run_id: (folder.path / "log.txt").read_text() for folder in folders}
    assert all(log.count(" done\n") == 1 for log in logs.values()), "none is done twice"
    for what, run_id in killer.killed:
        assert "its worker died" in logs[run_id] and "resumes at step" in logs[run_id], what
    struck = [run for run in runs if run.run_id in {run_id for _, run_id in killer.killed}]
    for run in struck:
        straight = RunFolder(tmp_path / "straight" / run.run_id)
        assert train(run, straight)
        assert_same_run(RunFolder(tmp_path / "out" / run.run_id), straight)
