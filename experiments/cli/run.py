"""The command that works: `loopscope run`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.options import (
    RUNS,
    AllowDrift,
    Changes,
    GridName,
    Out,
    Part,
    RetryFailed,
    Shard,
    Workers,
    parse_shard,
    telling_problems,
)

if TYPE_CHECKING:
    from experiments.grid.grid import Grid
    from experiments.results.long_table import Results


BackendName = Annotated[
    str, typer.Option(metavar="local|ray|slurm|FILE", help="where; a YAML file with options")
]
Options = Annotated[
    list[str],
    typer.Option("--option", metavar="KEY=VALUE", help="of the back end; repeatable"),
]
SlotsPerGpu = Annotated[
    int | None, typer.Option("--slots-per-gpu", help="small runs on one GPU at once")
]
Stack = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        help="runs of one shape trained in one pass; local: default auto on GPUs",
    ),
]
MirrorNames = Annotated[
    list[str],
    typer.Option(
        "--mirror",
        metavar="tensorboard|wandb",
        help="a copy of the metrics in OUT/mirrors; repeatable",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="show what would be started where; write nothing")
]


def run(
    grid: GridName,
    out: Out = RUNS,
    workers: Workers = None,
    backend: BackendName = "local",
    options: Options = [],  # noqa: B006 typer copies it
    slots_per_gpu: SlotsPerGpu = None,
    stack: Stack = None,
    changes: Changes = [],  # noqa: B006
    shard: Shard = None,
    part: Part = None,
    mirrors: MirrorNames = [],  # noqa: B006
    dry_run: DryRun = False,
    allow_drift: AllowDrift = False,
    retry_failed: RetryFailed = False,
) -> None:
    """Train and measure what a grid lacks, then print its table and draw its figures."""
    from experiments.execution.backends.options import backend_options
    from experiments.execution.runner import describe_grid, run_grid
    from experiments.grid.grid import load_grid
    from experiments.runs.output import check_output

    share = parse_shard(shard)
    where = backend_options(
        backend, options, workers=workers, slots_per_gpu=slots_per_gpu, stack=stack
    )
    loaded = load_grid(grid, changes)
    check_output(out)
    if dry_run:
        chosen = {"shard": share, "part": part}
        asked = {"allow_drift": allow_drift, "retry_failed": retry_failed}
        typer.echo(describe_grid(loaded, out, where, **chosen, **asked))
        return
    before = _state_of_figures(loaded, out)
    outcome = run_grid(
        loaded,
        out,
        backend=where,
        shard=share,
        part=part,
        allow_drift=allow_drift,
        retry_failed=retry_failed,
        mirrors=mirrors,
    )
    if outcome.interrupted:
        left = len(outcome.resumable)
        typer.echo(f"stopped; the same command goes on with the {left} runs left", err=True)
        raise typer.Exit(130)
    _report(loaded, out, before, grid)
    raise typer.Exit(1 if outcome.failed else 0)


def _state_of_figures(grid: "Grid", out: Path) -> tuple[Any, ...]:
    """The finished runs of a grid and its record, on which its figures depend."""
    from experiments.runs.folder import RunFolder
    from experiments.runs.json_files import read_json

    done = tuple(run_id for run_id in grid.runs if RunFolder(out / run_id).state() == "done")
    return done, read_json(out / "grids" / f"{grid.name}.json")


def _report(grid: "Grid", out: Path, before: tuple[Any, ...], typed: str) -> None:
    """The table, and the figures where there is anything new to draw.

    Args:
        typed: what the command line calls the grid.
    """
    from experiments.analysis.tables.tables import print_table
    from experiments.results.long_table import read_results

    results = read_results(out, grid.name)
    with telling_problems(results):
        print_table(results, wide=False)
    after = _state_of_figures(grid, out)
    drawn = list((out / "figures").glob(f"{grid.name}-*.png"))
    if after == before and len(drawn) >= len(grid.figures):
        return
    if not grid.figures or not after[0]:
        return
    if len(after[0]) < len(grid.runs):
        command = shlex.join(["loopscope", "figure", typed, "--out", str(out)])
        typer.echo(f"not all runs are done; `{command}` draws figures of those that are", err=True)
        return
    draw_figures(grid.figures, results, None)


def draw_figures(
    figures: tuple[dict[str, Any], ...] | list[dict[str, Any]],
    results: "Results",
    folder: Path | None,
) -> None:
    from experiments.analysis.figures import draw

    for figure in figures:
        first, *_ = draw(**figure, out=results, folder=folder)
        typer.echo(first)
