"""Running a grid: what is missing is done, what is done is left alone, nothing is lost."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.config import RunConfig, spans
from experiments.devices import worker_devices
from experiments.environment import drift_message, drift_of, environment
from experiments.errors import LoopscopeError
from experiments.executor import LocalExecutor
from experiments.progress import Progress
from experiments.store import RunFolder, prepare_output, record_grid
from models.counts import block_flops

if TYPE_CHECKING:
    from experiments.grid import Grid


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
    shard: tuple[int, int] | None = None,
    allow_drift: bool = False,
    retry_failed: bool = False,
    progress: bool = True,
) -> GridOutcome:
    """Trains and measures every run of a grid that has no result yet.

    Args:
        workers: processes at once; None: one for each GPU, or for each core without GPUs.
        shard: (i, n), i from 1: only every n-th run, starting with the i-th.
        allow_drift: resume runs although code or libraries changed since they began.
        retry_failed: try again what failed before.

    Raises:
        LoopscopeError: the folder cannot be used, or a run to resume began with other code.
    """
    folders, configs = _unique_runs(grid, Path(out), shard)
    if workers is not None and workers < 1:
        raise LoopscopeError(f"--workers needs 1 or more, got {workers}")
    prepare_output(Path(out))
    states = {folder: folder.state() for folder in folders}
    skipped = {"done"} if retry_failed else {"done", "failed"}
    todo = [folder for folder in folders if states[folder] not in skipped]
    if not allow_drift:
        _refuse_drift(todo, configs)
    _record(grid, Path(out))
    for folder in folders:  # one that is done may have lost its config
        folder.freeze(configs[folder])
    todo.sort(key=lambda folder: -_estimated_flops(configs[folder]))
    given_up = 0 if retry_failed else sum(state == "failed" for state in states.values())
    if given_up and progress:
        print(f"{given_up} failed before; --retry-failed tries them again", file=sys.stderr)
    executor = LocalExecutor(worker_devices(workers) if todo else (), allow_drift)
    display = Progress(
        grid.title or grid.name, len(folders), len(folders) - len(todo) - given_up, given_up
    )
    waves = _waves(todo, configs)
    return _outcome(folders, _execute(executor, waves, display if progress else None))


def _execute(
    executor: LocalExecutor, waves: list[list[RunFolder]], display: Progress | None
) -> bool:
    """Whether it was interrupted."""
    if display is None or not waves:
        return any(executor.run(wave) for wave in waves)
    executor.finished, executor.look, executor.tell = display.finished, display.look, display.tell
    with display:
        return any(executor.run(wave) for wave in waves)


def _waves(todo: list[RunFolder], configs: dict[RunFolder, RunConfig]) -> list[list[RunFolder]]:
    """What can be worked on at once: a run comes after the one that it starts from."""
    waves, left = [], todo
    while left:
        waiting = {folder.run_id for folder in left}
        wave = [folder for folder in left if configs[folder].start not in waiting]
        waves.append(wave)
        left = [folder for folder in left if configs[folder].start in waiting]
    return waves


def _unique_runs(
    grid: "Grid", out: Path, shard: tuple[int, int] | None
) -> tuple[list[RunFolder], dict[RunFolder, RunConfig]]:
    """Folders in the grid's order, each id once, with their configs."""
    configs: dict[RunFolder, RunConfig] = {}
    for point in grid.points:
        configs.setdefault(RunFolder(out / point.run_id), point.config)
    folders = list(configs)
    if shard is None:
        return folders, configs
    i, n = shard
    if not 1 <= i <= n:
        raise LoopscopeError(f"--shard {i}/{n}: the first number must be between 1 and {n}")
    return folders[i - 1 :: n], configs


def _refuse_drift(folders: list[RunFolder], configs: dict[RunFolder, RunConfig]) -> None:
    """Before any work: which runs would be resumed with other code than they began with."""
    changes = {}
    for folder in folders:
        status = folder.status()
        trained = status is not None and 0 < status.last_step <= status.checkpoint_step
        if not folder.has_checkpoint() or trained:
            continue
        if found := drift_of(folder, environment(configs[folder])):
            changes[folder.run_id] = found
    if changes:
        raise LoopscopeError(drift_message(changes))


def _record(grid: "Grid", out: Path) -> None:
    points = [{"run_id": p.run_id, "part": p.part, "labels": dict(p.labels)} for p in grid.points]
    record_grid(out, grid.name, title=grid.title, figures=list(grid.figures), points=points)


def _estimated_flops(config: RunConfig) -> float:
    """Rough cost, to start with the longest run: the context is left out."""
    model = config.model
    documents = spans(config.training, config.task.items_per_exposure)[-1].last_document
    calls = len(model.schedule(config.max_loops)) + model.coda
    return documents * calls * block_flops(model, 0)


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
