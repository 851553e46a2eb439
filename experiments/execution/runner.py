"""Running a grid: what is missing is done, what is done is left alone, nothing is lost."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.config.memory import run_memory
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.execution.backends.backend import JobContext
from experiments.execution.backends.make import make_backend
from experiments.execution.backends.options import (
    BackendOptions,
    LocalOptions,
    backend_options,
)
from experiments.execution.executor import Executor
from experiments.execution.job import JobOutcome
from experiments.execution.live import LiveProgress, in_notebook
from experiments.execution.mirrors import Mirrors
from experiments.execution.order import unfinished, unique_runs, waves_of
from experiments.execution.preflight import refuse, refuse_changed_code
from experiments.execution.progress import Progress
from experiments.execution.time_left import time_left
from experiments.grid.figure_checks import undrawable
from experiments.grid.leakage import leaks
from experiments.planning.precision import slow_precision
from experiments.runs.folder import RunFolder, State
from experiments.runs.integrity import restore_config
from experiments.runs.json_files import read_json
from experiments.runs.output import check_record, prepare_output, record_grid

if TYPE_CHECKING:
    from experiments.grid.grid import Grid


@dataclass(frozen=True)
class Failure:
    """A run without a result, and why."""

    run_id: str
    reason: str


@dataclass(frozen=True)
class GridOutcome:
    """How a grid stands after `run_grid`: run ids, of this shard.

    Attributes:
        done: with a result, whenever it was made.
        failed: tried, now or before, and given up.
        resumable: neither.
    """

    done: tuple[str, ...]
    failed: tuple[Failure, ...]
    resumable: tuple[str, ...]
    interrupted: bool

    @property
    def exit_status(self) -> int:
        """130 if interrupted, 1 if a run failed, else 0."""
        return 130 if self.interrupted else 1 if self.failed else 0


def run_grid(
    grid: "Grid",
    out: Path | str = "runs",
    *,
    workers: int | None = None,
    backend: BackendOptions | None = None,
    shard: tuple[int, int] | None = None,
    part: str | None = None,
    allow_drift: bool = False,
    retry_failed: bool = False,
    progress: bool = True,
    mirrors: Sequence[str] = (),
) -> GridOutcome:
    """Trains and measures every run of a grid that has no result yet.

    Args:
        workers: processes at once; None: one for each GPU, or for each core without GPUs.
        backend: where to work; None: processes on this machine.
        progress: shows how far it is: a live table on a terminal, a table and curves in a
            notebook, else a line for each run that ends.
        shard: (i, n), i from 1: only every n-th run, starting with the i-th; a run that starts
            from another run of the grid is in the shard of that one.
        part: of the grid: only its runs, and those that they start from; None: all.
        allow_drift: resume runs, and leave those that are done, although code or libraries changed
            since they began.
        retry_failed: try again what failed before.
        mirrors: copies of the metrics for other tools, below OUT/mirrors.

    Raises:
        LoopscopeError: the folder cannot be used, a library is missing, a run needs more memory
            than there is, or one to resume began with other code.
    """
    out = Path(out)
    folders, configs = unique_runs(grid, out, shard, part)
    options = backend or backend_options("local", workers=workers)
    copies = Mirrors(mirrors, out, grid.name)
    prepare_output(out)
    work = _work(folders, configs, allow_drift, retry_failed)
    refuse(work.todo, configs, options, allow_drift)
    display = _display(grid, out, work) if progress else None
    notify = copies.notify = display.notify if display else lambda message: None
    context = JobContext(out, allow_drift, _memory(configs), notify)
    executor = Executor(make_backend(options, context), notify=notify) if work.todo else None
    _record(grid, out)
    _freeze(work, notify)
    if display:
        _tell_before(grid, work, notify, here=isinstance(options, LocalOptions))
    interrupted = False
    if executor:
        with _working(executor, display, copies):
            for wave in waves_of(work.todo, work.configs):
                interrupted = interrupted or executor.run(wave)
    return _outcome(folders, interrupted)


@dataclass(frozen=True)
class _Work:
    """The runs of a grid, or of a shard of it, before any is worked on.

    Attributes:
        todo: what is worked on, the longest first.
        given_up: runs that failed before and are not tried again.
    """

    configs: dict[RunFolder, RunConfig]
    states: dict[RunFolder, State]
    todo: list[RunFolder]
    given_up: int


def _work(
    folders: list[RunFolder],
    configs: dict[RunFolder, RunConfig],
    allow_drift: bool,
    retry_failed: bool,
) -> _Work:
    states = {folder: folder.state() for folder in folders}
    if not allow_drift:
        refuse_changed_code([f for f, state in states.items() if state == "done"], configs)
    todo = unfinished(states, configs, retry_failed)
    given_up = 0 if retry_failed else sum(state == "failed" for state in states.values())
    return _Work({folder: configs[folder] for folder in folders}, states, todo, given_up)


def _display(grid: "Grid", out: Path, work: _Work) -> Progress:
    shown = partial(LiveProgress, out) if in_notebook() else Progress
    every = len(work.states)
    done = every - len(work.todo) - work.given_up
    left = time_left(work.todo, work.states, work.configs) if work.todo else None
    return shown(grid.title or grid.name, every, done, work.given_up, left=left)


@contextmanager
def _working(executor: Executor, display: Progress | None, copies: Mirrors) -> Iterator[None]:
    """What is shown and closed around the work.

    Raises:
        LoopscopeError: runs cannot be written.
    """
    _show(executor, display, copies)
    with closing(executor.backend), closing(copies), display or nullcontext():
        yield
    if executor.blocked:
        raise LoopscopeError(
            f"{executor.blocked}\nstopped, since runs cannot be written; nothing is lost: the same "
            "command goes on once that is mended"
        )


def _freeze(work: _Work, notify: Callable[[str], None]) -> None:
    """Writes the config of every run that has none; one that is done may have lost its own."""
    for folder, state in work.states.items():
        freeze = partial(restore_config, folder) if state == "done" else folder.freeze
        for damaged in freeze(work.configs[folder]):
            notify(damaged)


def _tell_before(grid: "Grid", work: _Work, notify: Callable[[str], None], *, here: bool) -> None:
    """Tells what is worth knowing before the missing runs are worked on, and what stays as it is.

    Args:
        here: whether they are worked on on this machine.
    """
    configs = [work.configs[folder] for folder in work.todo]
    warnings = (
        undrawable(grid) if configs else (),
        leaks(configs),
        slow_precision(configs if here else []),
    )
    for warning in chain.from_iterable(warnings):
        notify(warning)
    if kept := sum(_observed_otherwise(folder, of) for folder, of in work.configs.items()):
        print(
            f"{kept} of the runs began with another `observe` than the grid has now and keep it; "
            "`loopscope probe` measures finished runs again",
            file=sys.stderr,
        )
    if work.given_up:
        print(f"{work.given_up} failed before; --retry-failed tries them again", file=sys.stderr)


def describe_grid(
    grid: "Grid",
    out: Path,
    backend: BackendOptions,
    *,
    shard: tuple[int, int] | None = None,
    part: str | None = None,
    allow_drift: bool = False,
    retry_failed: bool = False,
) -> str:
    """A text of what `run_grid` would start where; nothing is written."""
    check_record(out, grid.name, file=grid.file, source=grid.source, runs=grid.runs)
    folders, configs = unique_runs(grid, out, shard, part)
    todo = _work(folders, configs, allow_drift, retry_failed).todo
    context = JobContext(out, allow_drift, _memory(configs))
    if not todo:
        return "nothing to do"
    with closing(make_backend(backend, context)) as made:
        return made.describe(todo)


def _observed_otherwise(folder: RunFolder, config: RunConfig) -> bool:
    """Whether a run is frozen with other probes, evaluations or times than its grid asks for."""
    frozen = (read_json(folder.path / "config.json") or {}).get("observe", {})
    wanted = config.observe.model_dump(mode="json")
    return any(wanted.get(name) != value for name, value in frozen.items())


def _memory(configs: dict[RunFolder, RunConfig]) -> Callable[[RunFolder], int]:
    """Bytes that a run needs; 0 where its own code fails, which its worker will say better."""

    @cache
    def estimate(folder: RunFolder) -> int:
        try:
            return run_memory(configs[folder])
        except Exception:
            return 0

    return estimate


def _show(executor: Executor, display: Progress | None, copies: Mirrors) -> None:
    """Lets people and other tools see what the executor does."""

    def finished(outcome: JobOutcome) -> None:
        copies.finished(outcome.run_id)
        if display:
            display.finished(outcome)

    def refresh(running: list[RunFolder]) -> None:
        copies.refresh(running)
        if display:
            display.refresh(running)

    executor.finished, executor.refresh = finished, refresh


def _record(grid: "Grid", out: Path) -> None:
    points = [{"run_id": p.run_id, "part": p.part, "labels": dict(p.labels)} for p in grid.points]
    record_grid(
        out,
        grid.name,
        title=grid.title,
        figures=list(grid.figures),
        points=points,
        source=grid.source,
        file=grid.file,
        overrides=list(grid.changes),
    )


def _outcome(folders: list[RunFolder], interrupted: bool) -> GridOutcome:
    states = {folder: folder.state() for folder in folders}
    failed = []
    for folder, state in states.items():
        if state == "failed":
            status = folder.status()
            failed.append(Failure(folder.run_id, status.reason if status else ""))
    return GridOutcome(
        done=tuple(f.run_id for f, state in states.items() if state == "done"),
        failed=tuple(failed),
        resumable=tuple(f.run_id for f, s in states.items() if s not in ("done", "failed")),
        interrupted=interrupted,
    )
