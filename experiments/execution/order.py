"""Which runs of a grid are worked on, and in which order."""

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.config.costs import cost
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.grid.shards import share_of
from experiments.runs.folder import RunFolder, State

if TYPE_CHECKING:
    from experiments.grid.grid import Grid


def unique_runs(
    grid: "Grid", out: Path, shard: tuple[int, int] | None, part: str | None = None
) -> tuple[list[RunFolder], dict[RunFolder, RunConfig]]:
    """Folders in the grid's order, each id once, with their configs."""
    configs = {RunFolder(out / run_id): config for run_id, config in grid.runs_of(part).items()}
    folders = list(configs)
    if shard is None:
        return folders, configs
    i, n = shard
    if not 1 <= i <= n:
        raise LoopscopeError(f"--shard {i}/{n}: the first number must be between 1 and {n}")
    mine = set(share_of({folder.run_id: configs[folder].start for folder in folders}, i, n))
    return [folder for folder in folders if folder.run_id in mine], configs


def unfinished(
    states: dict[RunFolder, State], configs: dict[RunFolder, RunConfig], retry_failed: bool
) -> list[RunFolder]:
    """The runs that lack a result, the longest first."""
    skipped = {"done"} if retry_failed else {"done", "failed"}
    todo = [folder for folder, state in states.items() if state not in skipped]
    return sorted(todo, key=lambda folder: -_estimated_flops(configs[folder]))


def waves_of(todo: list[RunFolder], configs: dict[RunFolder, RunConfig]) -> list[list[RunFolder]]:
    """Runs that can be worked on at once: a run comes after the one that it starts from."""
    waves, left = [], todo
    while left:
        waiting = {folder.run_id for folder in left}
        wave = [folder for folder in left if configs[folder].start not in waiting]
        waves.append(wave)
        left = [folder for folder in left if configs[folder].start in waiting]
    return waves


def _estimated_flops(config: RunConfig) -> float:
    """FLOPs to start the longest run first; 0 where its own code fails, as its worker will say."""
    try:
        return cost(config).train_flops
    except Exception:
        return 0
