"""How processor time and memory grow with work: many runs, many people, many loops.

Commands are run as a person runs them, each in a process of its own, whose time (imports included)
and largest memory the system tells. Finished runs are copies of one that was trained.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from experiments.bench.together import train_together
from experiments.errors import LoopscopeError
from experiments.grid import load_grid
from experiments.runs.folder import RunFolder
from experiments.runs.integrity import sealing
from experiments.runs.output import prepare_output, record_grid

if TYPE_CHECKING:
    from experiments.grid.grid import Grid

HEAD = ("work", "command", "processor time", "memory")
LOOPS = (1, 2, 4, 8, 16)
#: units of `ru_maxrss`: kilobytes on Linux, bytes on macOS
RSS = 1 if sys.platform == "darwin" else 1024

#: runs a command from a process that is small, since the system counts the memory of the process
#: that starts another one to that
LAUNCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""

MANY = """
name: many
baseline:
  task: {{kind: multihop, world: permutation, entities: 8, relations: 4, hops: 2}}
  model: {{width: 8, heads: 1, tied: true}}
  training: {{batch: 4, phases: [{{until_step: {lines}}}]}}
  observe: {{probes: [{{kind: accuracy, items: 4}}], log_every: 1}}
axes:
  model.loops: {loops}
  seed: {seeds}
"""
PEOPLE = """
name: people
baseline:
  task: {{kind: biod, people: {people}, name_length: 4}}
  model: {{width: 64, heads: 2}}
  training: {{batch: 64, phases: [{{until_step: 1000}}]}}
axes:
  model.loops: {loops}
"""


def growth(runs: int, people: int, lines: int) -> list[tuple[str, ...]]:
    """Rows headed by `HEAD`.

    Args:
        runs: of a grid, of 1 to 16 loops and as many seeds as that takes.
        people: of one world.
        lines: of metrics of every run.
    """
    with TemporaryDirectory() as folder:
        return list(_rows(runs, people, lines, Path(folder)))


def _rows(runs: int, people: int, lines: int, folder: Path) -> Iterator[tuple[str, ...]]:
    many, whole = folder / "many.yaml", folder / "people.yaml"
    seeds = list(range(-(-runs // len(LOOPS))))
    many.write_text(MANY.format(lines=lines, loops=list(LOOPS), seeds=seeds), encoding="utf-8")
    whole.write_text(PEOPLE.format(people=people, loops=list(LOOPS)), encoding="utf-8")
    grid, out, archive = load_grid(many), folder / "runs", folder / "many.zip"
    n = len(grid.points)
    yield _row(f"{n} runs planned", "plan", many)
    fill(grid, out)
    yield _row("of which all are done", "plan", many, "--out", out)
    yield _row("counted", "status", out)
    yield _row(f"tabled, with {n * lines} lines of metrics", "table", out)
    yield _row("archived", "archive", out, archive)
    yield _row("tabled from the archive", "table", archive)
    world = ("--set", f"people={people}", "--set", "name_length=4")
    yield _row(f"{people} people: world and documents", "sample", "biod", *world)
    yield _row("a grid of them planned, up to 16 loops", "plan", whole)


def _row(work: str, *command: object) -> tuple[str, ...]:
    seconds, memory = measured([str(word) for word in command])
    words = (word.name if isinstance(word, Path) else str(word) for word in command)
    return work, f"loopscope {' '.join(words)}", f"{seconds:.1f} s", f"{memory / 1e6:.0f} MB"


def measured(command: Sequence[str]) -> tuple[float, int]:
    """Seconds of processor time and bytes of memory that a command of loopscope takes.

    Raises:
        LoopscopeError: it failed.
    """
    python = [sys.executable, "-P", "-c"]
    start = [*python, LAUNCH, *python, "from loopscope import main; main()", *command]
    told = subprocess.run(start, capture_output=True, text=True, errors="replace", check=True)
    seconds, memory, status = map(float, told.stdout.split())
    if status:
        raise LoopscopeError(f"loopscope {' '.join(command)} failed: {told.stderr.strip()}")
    return seconds, int(memory) * RSS


def fill(grid: "Grid", out: Path) -> None:
    """Makes the finished runs of a grid: the first is trained, the others are copies of it."""
    prepare_output(out)
    first, *others = (point.config for point in grid.points)
    trained = RunFolder(out / first.run_id)
    train_together({trained.path: first}, "cpu", threads=1)
    result = trained.result()
    assert result is not None
    for config in others:
        folder = RunFolder(out / config.run_id)
        folder.freeze(config)
        shutil.copy(trained.metrics_path, folder.metrics_path)
        of_run = {"run_id": folder.run_id, "seed": config.seed, "n_loops": config.model.loops}
        label = {"label": config.model.label}
        folder.write_result({**result, **of_run, **label, **sealing(folder, config)})
    points = [{"run_id": p.config.run_id, "part": p.part, "labels": p.labels} for p in grid.points]
    asked = {"source": grid.source, "file": grid.file, "overrides": list(grid.changes)}
    record_grid(out, grid.name, title=grid.title, figures=[], points=points, **asked)
