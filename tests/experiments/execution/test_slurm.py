"""The Slurm back end: submitit's local executor, a queue that is faked, and Slurm where it is."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest
from processes import Background, config, halfway, wait_until
from toys import assert_same_run, toy

import experiments
from experiments.config.phases import Phase, Training
from experiments.errors import LoopscopeError
from experiments.execution.backends.backend import JobContext
from experiments.execution.backends.options import SlurmOptions
from experiments.execution.runner import describe_grid, run_grid
from experiments.runs.folder import RunFolder
from experiments.training.train import train

pytest.importorskip("submitit", reason="needs the slurm extra")

from experiments.execution.backends.slurm import SlurmBackend  # noqa: E402


def cluster_answers() -> bool:
    try:
        return subprocess.run(["sinfo", "--noheader"], capture_output=True).returncode == 0
    except OSError:
        return False


def test_the_sbatch_file_is_shown_and_nothing_is_written(tmp_path: Path) -> None:
    options = SlurmOptions(
        partition="long", minutes=90, gpus=1, memory_gb=1.5, workers=2, sbatch={"nice": 100}
    )
    text = describe_grid(toy(config(0), config(1), config(2)), tmp_path / "out", options)
    for line in ("array=0-2%2", "partition=long", "time=90", "gpus-per-node=1", "mem=1500M"):
        assert f"#SBATCH --{line}\n" in text
    assert "#SBATCH --requeue\n" in text and "#SBATCH --signal=USR2@120\n" in text
    assert "#SBATCH --nice=100\n" in text and config(2).run_id in text
    shared = describe_grid(
        toy(config(0, 20), config(1, 20)), tmp_path / "out", SlurmOptions(stack=4)
    )
    assert "# fewer where runs of one shape share a job, up to 4" in shared
    assert not (tmp_path / "out").exists()


def test_what_is_shown_is_what_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where names have to be quoted; a false `sbatch` keeps what it is given."""
    sent = tmp_path / "sent.sh"
    for name, text in (("sbatch", f'cp "${{@: -1}}" "{sent}"; echo job 17'), ("srun", "")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    out = tmp_path / "my $HOME 'runs'"
    options = SlurmOptions(setup=("module load cuda",), partition="a b")
    grid = toy(config(0), config(1))
    shown = describe_grid(grid, out, options)
    backend = SlurmBackend(options, JobContext(out))
    backend.take(deque(RunFolder(out / run_id) for run_id in grid.runs))
    script = "\n".join(line for line in shown.splitlines() if not re.match(r"# \d+:", line))
    assert sent.read_text().strip() == script.strip()
    # the shell reads names as they are, and finds this lab whatever lies where the job runs
    (line,) = [line for line in script.splitlines() if line.startswith("srun ")]
    words = shlex.split(line)
    assert words[-1] == str(out / "slurm") and words[-4:-1] == ["-u", "-m", "submitit.core._submit"]
    assert words[-6:-4] == [sys.executable, "-P"]
    root = Path(experiments.__file__).parents[1]
    assert f"export PYTHONPATH={root}:$PYTHONPATH" in script.splitlines()


@pytest.mark.parametrize("name", ["%a", "runs-%j", "x%4A", "100%%", "%t", "%x/runs"])
def test_names_that_slurm_would_change_are_refused(tmp_path: Path, name: str) -> None:
    tag = name.removeprefix("runs-").removeprefix("x").removeprefix("100").removesuffix("/runs")
    for options in (SlurmOptions(), SlurmOptions(cluster="local")):
        with pytest.raises(LoopscopeError, match=f"in place of {tag} in the names") as error:
            describe_grid(toy(config()), tmp_path / name, options)
        assert str(tmp_path / name) in str(error.value)
    assert config().run_id in describe_grid(toy(config()), tmp_path / "100%", SlurmOptions())


def test_the_example_for_an_array_passes_any_name_on(tmp_path: Path) -> None:
    (tmp_path / "loopscope").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "loopscope").chmod(0o755)
    script = Path(experiments.__file__).parent / "examples" / "slurm-array.sh"
    numbers = {"TASK_ID": "2", "TASK_COUNT": "8"}
    told = {f"SLURM_ARRAY_{name}": value for name, value in numbers.items()}
    told |= {"SLURM_CPUS_PER_TASK": "4", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    asked = ["bash", script, "my grid.yaml", "/runs/%a and %j $HOME"]
    ran = subprocess.run(asked, env=told, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        *("run", "my grid.yaml", "--out", "/runs/%a and %j $HOME"),
        *("--shard", "2/8", "--workers", "4"),
    ]


@pytest.mark.faults
def test_an_own_package_where_the_command_is_typed_is_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("raise SystemExit('executed')")
    monkeypatch.chdir(tmp_path)
    options = SlurmOptions(cluster="local")
    outcome = run_grid(toy(config(0, 4)), tmp_path / "out", backend=options, progress=False)
    assert outcome.done == (config(0, 4).run_id,)


def test_without_slurm_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LoopscopeError, match="there is no Slurm here"):
        run_grid(toy(config()), tmp_path / "out", backend=SlurmOptions(), progress=False)


@pytest.mark.faults
def test_slurm_runs_are_the_runs_of_the_local_back_end(tmp_path: Path) -> None:
    good, bad = (
        [config(0, 20), config(1, 20)],
        config(2, training=Training(batch=16, lr=1e39, phases=(Phase(until_step=20),))),
    )
    options = SlurmOptions(cluster="local", pack=3)
    outcome = run_grid(toy(*good, bad), tmp_path / "slurm", backend=options, progress=False)
    here = run_grid(toy(*good, bad), tmp_path / "local", workers=1, progress=False)
    assert outcome.done == here.done and outcome.failed == here.failed
    for run in good:
        assert_same_run(*(RunFolder(tmp_path / name / run.run_id) for name in ("slurm", "local")))
    assert not list((tmp_path / "slurm" / "slurm").glob("*.pkl")), "pickles are not kept"


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGKILL])
def test_a_slurm_job_that_is_preempted_or_killed_goes_on(tmp_path: Path, number: int) -> None:
    run = config(steps=1500, batch=16)
    folder = RunFolder(tmp_path / "slurm" / run.run_id)
    grid = Background(toy(run), tmp_path / "slurm", backend=SlurmOptions(cluster="local"))
    pid = wait_until(lambda: halfway(folder))
    os.kill(pid, number)
    assert grid.outcome().done == (run.run_id,)
    log = (folder.path / "log.txt").read_text()
    assert log.count("resumes at step") == 1 and log.count("starts on") == 1
    assert ("its worker died" in log) == (number == signal.SIGKILL)
    straight = RunFolder(tmp_path / "straight" / run.run_id)
    train(run, straight)
    assert_same_run(folder, straight)


def stacked_with(folder: RunFolder) -> set[str]:
    return set((folder.environment() or {})["stacked_with"])


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGKILL])
def test_a_stack_in_a_slurm_job_goes_on_together_or_after_a_death_apart(
    tmp_path: Path, number: int
) -> None:
    runs = [config(seed, steps=1000, batch=16) for seed in range(3)]
    options = SlurmOptions(cluster="local", stack=3)
    grid = Background(toy(*runs), tmp_path, backend=options)
    folders = [RunFolder(tmp_path / run.run_id) for run in runs]
    (pid,) = {wait_until(lambda f=folder: halfway(f)) for folder in folders}
    ids = {folder.run_id for folder in folders}
    assert all(stacked_with(folder) == ids - {folder.run_id} for folder in folders)
    os.kill(pid, number)
    assert set(grid.outcome().done) == ids
    for folder in folders:
        log = (folder.path / "log.txt").read_text()
        assert log.count("resumes at step") == 1 and log.count("starts on") == 1
        assert log.count("stacked with") == (2 if number == signal.SIGUSR2 else 1)


def fake_squeue(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    script = folder / "squeue"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_queue_is_read_and_silence_is_no_empty_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.execution.backends.slurm import queued_jobs

    fake_squeue(tmp_path, monkeypatch, "echo 7_0; echo 7_12; echo 9")
    assert queued_jobs() == {"7_0", "7_12", "9"}
    fake_squeue(tmp_path, monkeypatch, "exit 0")
    assert queued_jobs() == set()
    fake_squeue(tmp_path, monkeypatch, "echo 7_0; exit 1")
    assert queued_jobs() is None
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert queued_jobs() is None


def test_a_job_that_two_looks_miss_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.execution.backends import slurm

    class Job:
        def __init__(self, number: str) -> None:
            self.job_id = number

    class Sent:
        def __init__(self, number: str, has_result: bool = False) -> None:
            self.job, self.has_result = Job(number), has_result

    there, done, gone = Sent("1"), Sent("2", has_result=True), Sent("3")
    backend = object.__new__(slurm.SlurmBackend)
    backend.sent, backend._asked, backend._missed = [there, done, gone], 0.0, set()  # pyrefly: ignore
    answers = iter([{"1"}, None, {"1", "3"}, {"1"}, {"1"}])
    monkeypatch.setattr(slurm, "ASK", 0.0)
    monkeypatch.setattr(slurm, "queued_jobs", lambda: next(answers))
    # missed, no answer, there again, missed, missed twice
    assert [backend._vanished() for _ in range(5)] == [[], [], [], [], [gone]]


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.skipif(not cluster_answers(), reason="needs a Slurm cluster: sinfo does not answer")
@pytest.mark.parametrize("how", ["requeued", "killed"])
def test_on_a_cluster_a_job_that_is_requeued_or_killed_goes_on(tmp_path: Path, how: str) -> None:
    run = config(steps=6000, batch=16)
    folder = RunFolder(tmp_path / "slurm" / run.run_id)
    options = SlurmOptions(minutes=10, signal_seconds=60)
    grid = Background(toy(run), tmp_path / "slurm", backend=options)
    pid = wait_until(lambda: halfway(folder))
    if how == "killed":
        os.kill(pid, signal.SIGKILL)
    else:
        job = queued()
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
        while folder.state() == "running":
            time.sleep(0.5)
        subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=False)
    assert grid.outcome(600).done == (run.run_id,)
    log = (folder.path / "log.txt").read_text()
    assert log.count("resumes at step") == 1 and log.count("starts on") == 1
    assert ("left Slurm's queue without a result" in log) == (how == "killed")
    straight = RunFolder(tmp_path / "straight" / run.run_id)
    train(run, straight)
    assert_same_run(folder, straight)


def queued() -> str:
    from experiments.execution.backends.slurm import queued_jobs

    (job,) = queued_jobs() or ()
    return job
