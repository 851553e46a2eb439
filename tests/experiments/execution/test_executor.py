"""Grids: every run once, a failure stops nobody else, and nothing is done twice."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from toys import assert_same_run, toy

from experiments.config.phases import Phase, Training
from experiments.config.run import Observe, RunConfig
from experiments.errors import LoopscopeError
from experiments.execution import executor
from experiments.execution.backends import local
from experiments.execution.backends.backend import JobContext
from experiments.execution.backends.options import LocalOptions
from experiments.execution.job import JobOutcome
from experiments.execution.runner import run_grid
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import write_json
from experiments.runs.lock import RunLock
from experiments.runs.status import Status
from experiments.training.train import train
from generators.multihop import MultiHop
from models.config import LoopedConfig
from probes.accuracy import Accuracy


def config(seed: int = 0, loops: int = 1, lr: float = 4e-3, steps: int = 20) -> RunConfig:
    return RunConfig(
        task=MultiHop(entities=8, relations=4, hops=2),
        model=LoopedConfig(width=16, heads=2, loops=loops),
        training=Training(batch=16, lr=lr, phases=(Phase(until_step=steps),)),
        observe=Observe(probes=(Accuracy(items=16),), log_every=5),
        seed=seed,
    )


def ids(*configs: RunConfig) -> tuple[str, ...]:
    return tuple(c.run_id for c in configs)


GOOD = (config(0), config(0, loops=2), config(1))
DIVERGES = config(2, lr=1e39)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid of three good runs, one of them asked for twice, and one that diverges."""
    path = tmp_path_factory.mktemp("runs")
    outcome = run_grid(toy(DIVERGES, *GOOD, GOOD[0]), path, workers=2, progress=False)
    assert outcome.done == ids(*GOOD)
    assert [failure.run_id for failure in outcome.failed] == [DIVERGES.run_id]
    assert outcome.resumable == () and outcome.exit_status == 1
    return path


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_spawn", lambda log: pytest.fail("a worker was started"))


def test_a_run_that_diverges_says_why(out: Path) -> None:
    folder = RunFolder(out / DIVERGES.run_id)
    status = folder.status()
    assert folder.state() == "failed" and status is not None
    assert "loss is nan at step 2 of 20" in status.reason
    assert status.reason in (folder.path / "log.txt").read_text()


def test_a_worker_computes_what_train_computes(out: Path, tmp_path: Path) -> None:
    run = GOOD[1]
    here = RunFolder(tmp_path / run.run_id)
    assert train(run, here)
    assert_same_run(RunFolder(out / run.run_id), here)


def test_no_claim_is_left(out: Path) -> None:
    assert not list(out.glob("*/claim.json"))


def test_the_grid_is_recorded_with_every_point(out: Path) -> None:
    recorded = json.loads((out / "grids" / "toy.json").read_text())
    asked = [c.run_id for c in (DIVERGES, *GOOD, GOOD[0])]
    assert [point["run_id"] for point in recorded["points"]] == asked
    assert recorded["points"][3]["labels"] == {"seed": "1"}
    assert {p.name for p in out.iterdir()} == {*asked, "grids", "loopscope.json"}


@pytest.mark.usefixtures("no_workers")
def test_what_is_done_or_given_up_is_left_alone(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    outcome = run_grid(toy(DIVERGES, *GOOD), out)
    assert (outcome.done, outcome.exit_status) == (ids(*GOOD), 1)
    assert "1 failed before; --retry-failed" in capsys.readouterr().err
    after = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    del before[out / "grids" / "toy.json"], after[out / "grids" / "toy.json"]
    assert before == after


def test_nothing_to_do_takes_no_time_and_no_torch(out: Path) -> None:
    code = """
import sys
from pathlib import Path
from experiments.grid.grid import Grid, GridPoint
from experiments.execution.runner import run_grid
from experiments.runs.folder import RunFolder
out = Path(sys.argv[1])
points = []
for name in sys.argv[2:]:
    config = RunFolder(out / name).config()
    points.append(GridPoint(config, config.run_id, "", {}))
grid = Grid("toy2", "", (), tuple(points))
assert run_grid(grid, out).exit_status == 0
assert "torch" not in sys.modules and "pandas" not in sys.modules
"""
    root = str(Path(executor.__file__).parents[2])
    before = os.times()
    subprocess.run(
        [sys.executable, "-c", code, str(out), *ids(*GOOD)],
        check=True,
        env=os.environ | {"PYTHONPATH": root},
    )
    after = os.times()  # processor time: what an idle machine takes, on a busy one too
    used = after.children_user + after.children_system
    assert used - before.children_user - before.children_system < 3


@pytest.mark.usefixtures("work_here")
def test_failed_runs_are_tried_again_when_asked(out: Path) -> None:
    log = RunFolder(out / DIVERGES.run_id).path / "log.txt"
    before = log.read_text().count("starts on cpu")
    outcome = run_grid(toy(DIVERGES), out, workers=1, retry_failed=True, progress=False)
    assert outcome.exit_status == 1
    assert log.read_text().count("starts on cpu") == before + 1


def test_shards_split_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def run(self: executor.Executor, folders: list[RunFolder]) -> bool:
        seen.append([folder.run_id for folder in folders])
        return False

    monkeypatch.setattr(executor.Executor, "run", run)
    runs = [config(seed) for seed in range(5)]
    for i in (1, 2):
        run_grid(toy(*runs, runs[0]), tmp_path, shard=(i, 2), progress=False)
    assert seen == [list(ids(runs[0], runs[2], runs[4])), list(ids(runs[1], runs[3]))]


def test_a_part_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(LoopscopeError, match="no part 'sweep'; it has no parts"):
        run_grid(toy(config()), tmp_path / "out", part="sweep")
    assert not (tmp_path / "out").exists()


def test_the_longest_run_starts_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(
        executor.Executor,
        "run",
        lambda self, folders: order.extend(folder.run_id for folder in folders),
    )
    runs = [config(), config(loops=4), config(steps=30)]
    run_grid(toy(*runs), tmp_path, progress=False)
    assert order == list(ids(runs[1], runs[2], runs[0]))


@pytest.mark.parametrize("shard", [(0, 3), (4, 3), (1, 0)])
def test_a_shard_that_does_not_exist(tmp_path: Path, shard: tuple[int, int]) -> None:
    with pytest.raises(LoopscopeError, match=f"--shard {shard[0]}/{shard[1]}"):
        run_grid(toy(config()), tmp_path / "out", shard=shard)
    assert not (tmp_path / "out").exists()


def test_no_workers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoopscopeError, match="--workers needs 1 or more, got 0"):
        run_grid(toy(config()), tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_workers")
def test_drift_is_refused_before_any_work(tmp_path: Path) -> None:
    runs = [config(0), config(1), config(2)]
    for run in runs[:2]:
        folder = RunFolder(tmp_path / run.run_id)
        assert not train(run, folder, stop=lambda: True)
        environment = folder.environment()
        assert environment is not None
        environment["versions"]["numpy"] = "1.0"
        write_json(folder.path / "environment.json", environment)
    with pytest.raises(LoopscopeError) as refused:
        run_grid(toy(*runs), tmp_path)
    for run_id in ids(*runs[:2]):
        assert f"{run_id}: numpy was 1.0" in str(refused.value)
    assert not (tmp_path / runs[2].run_id).exists()
    assert not list((tmp_path / "grids").iterdir())


def test_a_run_that_another_process_has_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "BUSY", 0.3)
    folder = RunFolder(tmp_path / config().run_id)
    folder.freeze(config())
    lock = RunLock.acquire(folder.lock_path)
    assert lock is not None

    def finish_elsewhere() -> None:
        while "busy" not in answers:
            time.sleep(0.05)
        train(config(), folder)
        lock.release()

    answers: list[str] = []
    answered = executor.Executor._answered

    def spy(self: executor.Executor, run: RunFolder, outcome: JobOutcome) -> None:
        answers.append(outcome.ended)
        answered(self, run, outcome)

    monkeypatch.setattr(executor.Executor, "_answered", spy)
    thread = threading.Thread(target=finish_elsewhere)
    thread.start()
    outcome = run_grid(toy(config()), tmp_path, workers=1, progress=False)
    thread.join()
    assert outcome.done == (folder.run_id,)
    assert set(answers) == {"busy"}, "the worker never trained it"


@pytest.mark.usefixtures("work_here")
def test_a_config_edited_after_the_start_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / config().run_id)
    folder.freeze(config())
    fields = json.loads((folder.path / "config.json").read_text())
    write_json(folder.path / "config.json", fields | {"seed": 5})
    outcome = run_grid(toy(config()), tmp_path, workers=1, progress=False)
    assert "config.json is that of" in outcome.failed[0].reason


@pytest.mark.usefixtures("work_here")
def test_damaged_results_are_named_and_redone(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(out / GOOD[0].run_id)
    before = folder.result()
    (folder.path / "result.json").write_text("{")
    outcome = run_grid(toy(GOOD[0]), out, workers=1)
    assert outcome.exit_status == 0
    assert (
        "result.json could not be read; set aside as result.json.corrupt" in capsys.readouterr().err
    )
    after = folder.result()
    assert before is not None and after is not None
    assert after["measurements"] == before["measurements"]


# --- deaths, without killing anyone


@pytest.fixture
def pool(tmp_path: Path) -> tuple[executor.Executor, RunFolder, list[JobOutcome]]:
    folder = RunFolder(tmp_path / "a-run")
    folder.freeze(config())
    ended: list[JobOutcome] = []
    backend = local.LocalBackend(LocalOptions(workers=1, device="cpu"), JobContext(tmp_path))
    return executor.Executor(backend, finished=ended.append), folder, ended


def test_a_run_whose_workers_keep_dying_is_given_up(
    pool: tuple[executor.Executor, RunFolder, list[JobOutcome]],
) -> None:
    pooled, folder, ended = pool
    for _ in range(executor.RETRIES):
        pooled._died(folder, local.describe_exit(-9))
        assert pooled.queue.popleft() == folder and not ended
    pooled._died(folder, local.describe_exit(-9))
    assert not pooled.queue
    assert ended[0].ended == "failed" and "died 4 times" in ended[0].reason
    assert "want of memory" in ended[0].reason
    assert folder.state() == "failed"


def test_a_new_checkpoint_resets_the_count(
    pool: tuple[executor.Executor, RunFolder, list[JobOutcome]],
) -> None:
    pooled, folder, ended = pool
    for death in range(3 * executor.RETRIES):
        folder.write_status(Status(state="running", checkpoint_step=death))
        pooled._died(folder, local.describe_exit(1))
        pooled.queue.clear()
    assert not ended
