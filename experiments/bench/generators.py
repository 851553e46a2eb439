"""Speed of the generators, beside the straightforward way: plain Python, one document at a time.

Both write the same kinds of documents with their masks and spans, from the same worlds, and are
measured in turns, so that a change of the machine's load falls on both alike; a speed is the
median over the turns, in time of the process. Padding is not counted.
"""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import cast

from experiments.bench.plain_online_tasks import ONLINE
from experiments.bench.plain_tasks import WORLDS, Plain, Writer
from experiments.errors import LoopscopeError
from generators.plugins import choices, nearest
from generators.streams import Stream, generator
from generators.task import Task

PLAIN: dict[str, Plain] = {**WORLDS, **ONLINE}
#: seconds of process time of one turn
TURN = 0.05
HEAD = ("task", "tokens a document", "loopscope", "by the wall clock", "plain Python", "ratio")
#: people of the largest world, and what is run to build it in a process of its own
PEOPLE = 500_000
BUILD = """
import re, resource, time
from pathlib import Path
from generators.biographies import Biographies
from generators.streams import Stream, generator
start = time.perf_counter(), time.process_time()
task = Biographies(people={people}, pools="full").bind(0)
task.sample(generator(0, Stream.TRAIN), 64, index=0)
print(time.perf_counter() - start[0], time.process_time() - start[1])
# Linux counts into ru_maxrss what the process was before it became this one
status = Path("/proc/self/status")
peak = re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text()) if status.exists() else None
print(peak[1] if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@dataclass(frozen=True)
class Speed:
    """Tokens a second of ours by process time and by the wall clock, and of the plain version.

    `length` is the mean number of tokens of a training document.
    """

    length: float
    ours: float
    by_wall: float
    plain: float | None

    def row(self, kind: str) -> tuple[str, ...]:
        """As `HEAD` names it, in millions of tokens a second."""
        millions = [f"{x / 1e6:.2f}" for x in (self.ours, self.by_wall)]
        plain = ["", ""]
        if self.plain is not None:
            plain = [f"{self.plain / 1e6:.2f}", f"{self.ours / self.plain:.0f}"]
        return (kind, f"{self.length:.1f}", *millions, *plain)


def measure_all(kinds: list[str] | None, *, batch: int, seconds: float) -> list[tuple[str, ...]]:
    """Rows for a table, headed by `HEAD`.

    Every task is taken at its default settings; the world is built before the clock starts.

    Raises:
        LoopscopeError: an unknown kind.
    """
    known = cast(dict[str, type[Task]], choices(Task, "generators"))
    for kind in kinds or ():
        if kind not in known:
            raise LoopscopeError(
                f"there is no task {kind!r}{nearest(kind, known)}; there are {', '.join(known)}"
            )
    rows: list[tuple[str, ...]] = [HEAD]
    for kind in kinds or known:
        try:
            task = known[kind].model_validate({}).bind(0)
        except ValueError:
            rows.append((kind, "", "has fields without a default", "", "", ""))
            continue
        write = PLAIN[kind](task) if kind in PLAIN else None
        rows.append(measure(task, write, batch=batch, seconds=seconds).row(kind))
    return rows


def measure(task: Task, write: Writer | None, *, batch: int, seconds: float) -> Speed:
    """Speed of a bound task and of a plain writer of its documents, in turns.

    Args:
        seconds: of process time, for each of the two.
    """
    step = documents = tokens = 0
    counted = task.items_per_exposure is not None
    rng = random.Random(0)

    def ours() -> int:
        nonlocal step, documents, tokens
        source = generator(task.seed, Stream.TRAIN, step)
        made = task.sample(source, batch, index=step * batch if counted else None)
        written = int((made.tokens != 0).sum())
        step, documents, tokens = step + 1, documents + len(made), tokens + written
        return written

    def plain() -> int:
        assert write is not None
        return sum(len(write(rng)[0]) for _ in range(64))

    ours()  # builds the world and its tables
    found: list[tuple[float, float]] = []
    plainly: list[tuple[float, float]] = []
    spent = 0.0
    while spent < seconds:
        found.append(_turn(ours))
        if write is not None:
            plainly.append(_turn(plain))
        spent += TURN
    by_process, by_wall = (median(speeds) for speeds in zip(*found, strict=True))
    slow = median(speed for speed, _ in plainly) if plainly else None
    return Speed(tokens / documents, by_process, by_wall, slow)


def _turn(work: Callable[[], int]) -> tuple[float, float]:
    """Tokens a second by process time and by the wall clock, of work that says how many it made."""
    tokens = 0
    wall, start = time.perf_counter(), time.process_time()
    while time.process_time() - start < TURN:
        tokens += work()
    return tokens / (time.process_time() - start), tokens / (time.perf_counter() - wall)


def measure_world(people: int = PEOPLE) -> str:
    """Time and memory of a bios world in a process of its own, up to its first documents."""
    run = subprocess.run(
        [sys.executable, "-c", BUILD.format(people=people)],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise LoopscopeError(f"the world of {people:,} people was not built: {run.stderr[-500:]}")
    wall, processor, kilobytes = run.stdout.split()
    megabytes = int(kilobytes) * (1 if sys.platform == "darwin" else 1024) / 1e6
    return (
        f"world of bios with {people:,} people: {float(wall):.2f} s ({float(processor):.2f} s of "
        f"processor time), {megabytes:.0f} MB at most, with the interpreter"
    )
