"""Back ends: one behaviour, whatever does the work; settings that a person can mend."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import config, halfway, wait_until
from toys import frozen, toy
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.cli.options import parse_shard
from experiments.config.memory import run_memory
from experiments.config.phases import Phase, Training
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.execution import runner
from experiments.execution.backends import local
from experiments.execution.backends.backend import JobBundle, JobContext, bundles, packs, require
from experiments.execution.backends.options import (
    LocalOptions,
    RayOptions,
    SlurmOptions,
    backend_options,
)
from experiments.execution.job import Job
from experiments.execution.runner import run_grid
from experiments.execution.stack_planner import Stacker
from experiments.runs.folder import RunFolder
from models.config import LoopedConfig

ROOT = Path(local.__file__).parents[3]
EXAMPLES = ROOT / "experiments" / "examples"


# --- settings


def test_options_come_from_a_file_then_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("backend: ray\naddress: 10.0.0.1:6379\nnamespace: lab\npack: 4\n")
    found = backend_options(str(path), ["pack=8", "gpus=0.25"], workers=3)
    assert found == RayOptions(
        address="10.0.0.1:6379", namespace="lab", pack=8, gpus=0.25, workers=3
    )
    assert backend_options() == LocalOptions()
    assert backend_options("slurm", ["setup=[module load cuda]"]) == SlurmOptions(
        setup=("module load cuda",)
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rey",), "did you mean 'ray'"),
        (("ray", ["pak=2"]), "did you mean 'pack'"),
        (("ray", ["cpus=0", "pack=x"]), "cpus.*\n.*pack"),
        (("slurm", ["minutes"]), "needs KEY=VALUE"),
        (("local", ["slots_per_gpu=[", "a=1"]), "no YAML"),
        (("local", ["backend=ray"]), "chosen with --backend"),
        (("local", ["backend=[1]"]), "chosen with --backend"),
    ],
)
def test_settings_that_are_wrong_are_all_named(arguments: Any, said: str) -> None:
    with pytest.raises(LoopscopeError, match=said):
        backend_options(*arguments)


def test_a_missing_extra_is_one_message_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LoopscopeError, match=r"--backend ray needs ray.*\n?.*'loopscope\[ray\]'"):
        require("ray", "--backend ray", "ray")


def test_packs_use_all_the_room_first() -> None:
    def sizes(n: int, size: int, most: int | None = None) -> list[int]:
        return [len(p) for p in packs(deque(RunFolder(Path(str(i))) for i in range(n)), size, most)]

    assert sizes(10, 4) == [4, 4, 2]
    assert sizes(4, 4, most=2) == [2, 2]
    assert sizes(100, 4, most=2) == [4, 4], "the rest stays in the queue"
    assert sizes(0, 4) == []


def test_runs_of_one_shape_are_a_load_until_one_of_them_kills_its_worker(tmp_path: Path) -> None:
    wide = LoopedConfig(width=32, heads=2)
    narrow = frozen(tmp_path, *map(config, range(5)))
    (other,) = frozen(tmp_path, config(0, model=wide))
    stacker = Stacker(2, 1, print)
    queue = deque([narrow[0], other, *narrow[1:]])
    first, second, third = bundles(queue, 8, stacker, False)
    assert not queue
    assert (first, second) == (JobBundle(narrow[:2], True), JobBundle(narrow[2:4], True))
    assert third == JobBundle([other, narrow[4]])
    (job,) = (Job.model_validate_json(text) for text in first.jobs(JobContext(tmp_path), "cpu"))
    assert (job.folder, job.beside) == (narrow[0].path, (narrow[1].path,))
    alone = [Job.model_validate_json(text) for text in third.jobs(JobContext(tmp_path), "cpu")]
    assert [(job.folder, job.beside) for job in alone] == [(f.path, ()) for f in third.folders]

    def ends(load: JobBundle) -> list[str]:
        return [outcome.ended for _, outcome in load.died(load.folders, "killed", stacker)]

    assert ends(third) == ["died", "busy"], "runs one after the other: the first was worked on"
    assert ends(first) == ["died", "died"], "it may have been any one of them"
    queue = deque(narrow)
    assert bundles(queue, 1, stacker, False, most=2) == [
        JobBundle(narrow[2:4], True),
        JobBundle(narrow[:1]),
    ]
    assert list(queue) == [narrow[1], narrow[4]], "the rest stays in the queue"


# --- memory


def test_no_more_runs_at_once_than_memory_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(
        local.Slot,
        "send",
        lambda slot, job: sent.extend(folder.run_id for folder in slot.folders),
    )
    monkeypatch.setattr(local, "_spawn", lambda log: None)
    said: list[str] = []
    sizes = {"huge": 30e9, "big": 6e9, "large": 5e9, "small": 1e9}
    context = JobContext(tmp_path, memory=lambda f: int(sizes[f.run_id]), notify=said.append)
    pool = local.LocalBackend(LocalOptions(workers=4, device="cpu", memory_gb=8), context)
    queue = deque(RunFolder(tmp_path / name) for name in sizes)
    pool.take(queue)
    assert sent == ["huge"], "alone, since nothing would be gained by waiting"
    pool.slots[0].folders = []
    pool.take(queue)
    assert sent == ["huge", "big", "small"], "the small one passes the large one"
    assert [folder.run_id for folder in queue] == ["large"] and len(said) == 1
    for slot in pool.slots:
        slot.folders = []


def test_the_estimate_of_memory_grows_with_what_needs_memory() -> None:
    small = run_memory(config())
    wide = run_memory(config(model=LoopedConfig(width=512, heads=2)))
    batch = run_memory(config(training=Training(batch=100_000, phases=(Phase(until_step=1),))))
    looped = LoopedConfig(width=64, heads=2, loops=8)
    many = Training(batch=50_000, phases=(Phase(until_step=1),))
    kept = run_memory(config(model=looped, training=many))
    again = run_memory(config(model=looped, training=many.model_copy(update={"recompute": True})))
    assert 4e8 < small < 7e8 and wide > small and batch > 1.2 * small
    assert again < kept


# --- two runners on a shared folder


SCRIPT = """
import sys
from pathlib import Path
from experiments.runs import lock
from experiments.config.run import RunConfig
from experiments.grid.grid import Grid, GridPoint
from experiments.execution.runner import run_grid

lock.STALE_AFTER = 6.0
runs = [RunConfig.model_validate_json(Path(file).read_text()) for file in sys.argv[3:]]
points = tuple(GridPoint(run, run.run_id, "", {}) for run in runs)
grid = Grid("toy", "Toy", (), points)
sys.exit(run_grid(grid, sys.argv[2], workers=1, progress=False).exit_status)
"""
#: seen by every process of one "machine" at its start
SITE = """
import os
from experiments.runs import lock
lock.this_machine = lambda: os.environ["MACHINE"]
lock.STALE_AFTER = 6.0
"""


def start(machine: str, tmp_path: Path, *configs: RunConfig) -> subprocess.Popen[bytes]:
    """A runner, and workers, that take themselves for another machine."""
    files = [tmp_path / f"{run.seed}.json" for run in configs]
    for file, run in zip(files, configs, strict=True):
        file.write_text(run.model_dump_json())
    site = tmp_path / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE)
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, machine, str(tmp_path / "out"), *map(str, files)],
        env=os.environ | {"MACHINE": machine, "PYTHONPATH": f"{site}:{ROOT}"},
        start_new_session=True,
    )


@pytest.mark.faults
def test_two_machines_on_one_folder_do_every_run_once(tmp_path: Path) -> None:
    runs = [config(seed, steps=300) for seed in range(6)]
    runners = [start(name, tmp_path, *runs) for name in ("one", "two")]
    assert [process.wait(300) for process in runners] == [0, 0]
    for run in runs:
        folder = RunFolder(tmp_path / "out" / run.run_id)
        log = (folder.path / "log.txt").read_text()
        assert log.count("starts on cpu") == 1 and "resumes" not in log
        assert [line["step"] for line in folder.metrics()] == [100, 200, 300]
    assert not list((tmp_path / "out").glob("*/claim*")), "nothing is left of the claims"


@pytest.mark.faults
def test_the_run_of_a_machine_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    run = config(steps=4000, batch=16)
    folder = RunFolder(tmp_path / "out" / run.run_id)
    first = start("one", tmp_path, run)
    worker = wait_until(lambda: halfway(folder))
    first.kill()
    first.wait()
    os.kill(worker, signal.SIGKILL)  # its claim stays, and nobody can ask for its process
    assert folder.lock_path.exists()
    before = time.monotonic()
    second = start("two", tmp_path, run)
    assert second.wait(300) == 0
    assert time.monotonic() - before > 3, "not before the heartbeat was void"
    log = (folder.path / "log.txt").read_text()
    assert log.count("starts on cpu") == 1 and log.count("resumes at step") == 1


# --- examples


def arguments_of(line: str) -> list[str]:
    import shlex

    words = shlex.split(line)
    return words[words.index("loopscope") + 1 :]


def test_the_command_lines_of_the_examples_are_valid(tmp_path: Path) -> None:
    script = (EXAMPLES / "slurm-array.sh").read_text()
    line = next(x for x in script.splitlines() if x.startswith("loopscope ")).rstrip("& ")
    for name, value in {
        "$grid": "quick",
        "$out": str(tmp_path / "out"),
        "$SLURM_ARRAY_TASK_ID": "3",
        "$SLURM_ARRAY_TASK_COUNT": "8",
        "$SLURM_CPUS_PER_TASK": "4",
    }.items():
        line = line.replace(name, value)
    job = yaml.safe_load((EXAMPLES / "kubernetes-job.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    assert job["spec"]["completionMode"] == "Indexed" and job["spec"]["completions"] == 8
    command = pod["containers"][0]["args"][0].removeprefix("exec ")
    command = command.replace("$((JOB_COMPLETION_INDEX + 1))", "1").replace("/runs", str(tmp_path))
    for arguments in (arguments_of(line), arguments_of(command)):
        shard = parse_shard(arguments[arguments.index("--shard") + 1])
        assert shard is not None and shard[1] == 8
        result = CliRunner().invoke(app, [*arguments, "--dry-run"])
        assert result.exit_code == 0, result.output
    subprocess.run(["bash", "-n", str(EXAMPLES / "slurm-array.sh")], check=True)


def test_the_executor_is_given_what_the_command_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(runner, "make_backend", lambda options, context: seen.append(options))
    with pytest.raises(AttributeError):
        run_grid(toy(config()), tmp_path, backend=RayOptions(pack=7), progress=False)
    assert seen == [RayOptions(pack=7)]
