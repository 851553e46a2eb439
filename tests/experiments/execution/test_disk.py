"""Full and read-only disks, want of memory, edited grids: told, and gone on with once mended.

What is mounted here is seen by the processes of the test alone.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from processes import ROOT, SCRIPT, Start, commands, config, finish
from toys import assert_same_run
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.config.run import RunConfig
from experiments.execution.runner import run_grid
from experiments.grid.grid import load_grid
from experiments.runs.folder import RunFolder
from experiments.runs.output import run_folders
from experiments.training.train import train

pytestmark = pytest.mark.faults

TRIED = subprocess.run(
    ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True, check=False
)
mounts = pytest.mark.skipif(
    TRIED.returncode != 0, reason="mounting in a user namespace is not allowed here"
)

#: $1 a folder for the mount, $2 where to copy what was in it, then the command
FULL = """
out=$1 copy=$2; shift 2
mount -t tmpfs -o size=260k none "$out"
"$@"; echo "first $?"
ls "$out"/*/ >&2
mount -o remount,size=64m "$out"
"$@"; echo "second $?"
cp -a "$out" "$copy"
"""
READ_ONLY = """
out=$1 copy=$2; shift 2
mount --bind "$out" "$out"
mount -o remount,ro,bind "$out"
"$@"; echo "first $?"
mount -o remount,rw,bind "$out"
"$@"; echo "second $?"
cp -a "$out" "$copy"
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with commands(tmp_path) as command:
        yield command


def in_namespace(
    tmp_path: Path, script: str, *configs: RunConfig
) -> subprocess.CompletedProcess[str]:
    """Runs a script in which other things are mounted, with a user's command as its arguments."""
    files = [tmp_path / f"{c.run_id}.json" for c in configs]
    for file, c in zip(files, configs, strict=True):
        file.write_text(c.model_dump_json())
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", SCRIPT, str(out), "-", *map(str, files)]
    return subprocess.run(
        ["unshare", "-rm", "bash", "-c", script, "-", str(out), str(tmp_path / "copy"), *command],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": ROOT},
        timeout=300,
        check=False,
    )


@mounts
def test_a_disk_that_is_full_for_a_while(tmp_path: Path) -> None:
    run = config(steps=400)
    straight = RunFolder(tmp_path / "straight" / run.run_id)
    assert train(run, straight)
    ended = in_namespace(tmp_path, FULL, run, config(1, 400))
    assert ended.stdout.splitlines() == ["first 2", "second 0"], ended.stderr
    assert "No space left on device\nstopped, since runs cannot be written" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "result.json" not in ended.stderr, "not a run was done while there was no space"
    assert_same_run(RunFolder(tmp_path / "copy" / run.run_id), straight)


@mounts
def test_an_output_folder_that_is_read_only_for_a_while(tmp_path: Path) -> None:
    run = config(steps=100)
    straight = RunFolder(tmp_path / "straight" / run.run_id)
    assert train(run, straight)
    ended = in_namespace(tmp_path, READ_ONLY, run)
    assert ended.stdout.splitlines() == ["first 2", "second 0"], ended.stderr
    assert f"{tmp_path / 'out'} is not writable; choose another folder" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert_same_run(RunFolder(tmp_path / "copy" / run.run_id), straight)


# --- memory


def address_space(tmp_path: Path) -> int:
    """Bytes that a process has mapped at most while it trains a small run."""
    code = (
        "import sys; from pathlib import Path; from experiments.execution.worker import *;"
        "list(perform(Job(folder=Path(sys.argv[1])), StopFlag()));"
        "print(Path('/proc/self/status').read_text())"
    )
    folder = RunFolder(tmp_path / "small" / config(steps=2).run_id)
    folder.freeze(config(steps=2))
    told = subprocess.run(
        [sys.executable, "-c", code, str(folder.path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": ROOT},
    ).stdout
    (line,) = (line for line in told.splitlines() if line.startswith("VmPeak"))
    return int(line.split()[1]) * 1024


def test_one_run_wants_more_memory_than_there_is(tmp_path: Path, start: Start) -> None:
    large, small = config(steps=2, batch=30_000), config(1, 20)
    limit = address_space(tmp_path) + 80 * 2**20

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    said = finish(start(large, small, preexec_fn=limited), 1)
    folder = RunFolder(tmp_path / "out" / large.run_id)
    status = folder.status()
    assert folder.state() == "failed" and status is not None
    assert "memory" in status.reason.lower(), status.reason
    assert status.reason.splitlines()[0] in said
    assert RunFolder(tmp_path / "out" / small.run_id).state() == "done"
    finish(start(large, small, retry=True))
    assert folder.state() == "done"


# --- grids that are edited


GRID = """
name: edited
title: a grid that is edited
baseline:
  task: {kind: multihop, entities: 8, relations: 4, hops: 2}
  model: {width: 16, heads: 2}
  training: {batch: 16, lr: 4e-3, phases: [{until_step: 20}]}
  observe: {probes: [{kind: accuracy, items: 16}]}
axes:
  model.loops: [1, 2]
"""


def test_a_grid_edited_between_plan_and_run_and_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "edited.yaml", tmp_path / "runs"
    path.write_text(GRID)
    assert CliRunner().invoke(app, ["plan", str(path), "--out", str(out)]).exit_code == 0
    assert not out.exists()
    planned = set(load_grid(path).runs)

    path.write_text(GRID.replace("[1, 2]", "[1, 2, 3]"))  # a point more, after the plan
    outcome = run_grid(load_grid(path), out, workers=1, progress=False)
    assert planned < set(outcome.done) and len(outcome.done) == 3
    before = {f.run_id: f.result() for f in run_folders(out)}

    fields = yaml.safe_load(GRID)
    fields["baseline"]["training"]["lr"] = 2e-3  # every point is another run now
    fields["axes"]["model.loops"] = [1]
    path.write_text(yaml.safe_dump(fields))
    capsys.readouterr()
    outcome = run_grid(load_grid(path), out, workers=1)
    assert len(outcome.done) == 1 and not set(outcome.done) & set(before)
    assert "`observe`" not in capsys.readouterr().err
    assert all(RunFolder(out / name).result() == found for name, found in before.items())

    fields["baseline"]["observe"]["log_every"] = 7  # the same runs, looked at otherwise
    path.write_text(yaml.safe_dump(fields))
    frozen = RunFolder(out / outcome.done[0]).config()
    again = run_grid(load_grid(path), out, workers=1)
    assert again.done == outcome.done
    assert RunFolder(out / outcome.done[0]).config() == frozen
    assert "1 of the runs began with another `observe`" in capsys.readouterr().err
