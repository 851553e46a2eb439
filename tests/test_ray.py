"""The Ray back end: the runs of the local one, bit for bit, whatever dies."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_backends import assert_same_run, config, toy, wait_for_process

from experiments.backends import RayOptions
from experiments.config import Phase, Training
from experiments.runner import run_grid
from experiments.store import RunFolder
from experiments.train import train

pytestmark = pytest.mark.ray
# seconds until Ray gives up starting a node, which a busy machine needs
os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
ray = pytest.importorskip("ray", reason="needs the ray extra")
#: of one node, in bytes; the smallest that Ray allows
STORE = 80 * 2**20


def test_a_grid_is_that_of_the_local_back_end(tmp_path: Path) -> None:
    bad = config(3, training=Training(batch=16, lr=1e39, phases=(Phase(until_step=20),)))
    grid = toy(config(0), config(1), config(2), bad)
    options = RayOptions(workers=2, pack=2)
    there = run_grid(grid, tmp_path / "ray", backend=options, progress=False)
    here = run_grid(grid, tmp_path / "local", workers=1, progress=False)
    assert there == here and len(here.done) == 3 and "loss is" in here.failed[0].reason
    for run_id in here.done:
        assert_same_run(*(RunFolder(tmp_path / name / run_id) for name in ("ray", "local")))
    assert not ray.is_initialized()


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node)
    try:
        for _ in range(2):
            made.add_node(num_cpus=1, object_store_memory=STORE)
        made.wait_for_nodes()
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
    """Kills a worker, then a node that works on another run and is not the head."""

    def __init__(self, cluster: Any, folders: list[RunFolder]) -> None:
        super().__init__(daemon=True)
        self.cluster, self.folders = cluster, folders
        self.killed: list[str] = []

    def run(self) -> None:
        os.kill(wait_for_process(self.folders[0], 120), signal.SIGKILL)
        self.killed.append("worker")
        nodes = {n.all_processes["raylet"][0].process.pid: n for n in self.cluster.worker_nodes}
        end = time.monotonic() + 120
        while time.monotonic() < end:
            for folder in self.folders[1:]:
                status = folder.status()
                if status is None or status.state != "running" or not status.checkpoint_step:
                    continue
                raylet = raylet_of(status.pid)
                if raylet in nodes and status.step < 0.8 * status.last_step:
                    self.cluster.remove_node(nodes[raylet], allow_graceful=False)
                    self.killed.append("node")
                    return
            time.sleep(0.02)


def test_a_killed_worker_and_a_killed_node_lose_nothing(tmp_path: Path, cluster: Any) -> None:
    runs = [config(seed, steps=1500) for seed in range(4)]
    folders = [RunFolder(tmp_path / "out" / run.run_id) for run in runs]
    killer = Killer(cluster, folders)
    killer.start()
    options = RayOptions(address=cluster.address)
    outcome = run_grid(toy(*runs), tmp_path / "out", backend=options, progress=False)
    killer.join()
    assert killer.killed == ["worker", "node"]
    assert sorted(outcome.done) == sorted(run.run_id for run in runs) and not outcome.failed
    logs = [(folder.path / "log.txt").read_text() for folder in folders]
    assert all(log.count(" done\n") == 1 for log in logs), "none is done twice"
    assert sum(log.count("its worker died") for log in logs) >= 2
    straight = RunFolder(tmp_path / "straight" / runs[0].run_id)
    train(runs[0], straight)
    assert_same_run(folders[0], straight)
