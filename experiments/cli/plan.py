"""Commands before training: `loopscope sample`, `plan`, `calibrate` and `schema`."""

from typing import Annotated, Literal

import typer

from experiments.cli.options import (
    RUNS,
    Changes,
    Difficulty,
    GridName,
    Out,
    Part,
    Seed,
    Shard,
    Split,
    TaskName,
    check_device,
    parse_shard,
)

Precision = Annotated[Literal["fp32", "bf16"], typer.Option(help="of the training steps timed")]


def sample(
    task: TaskName,
    n: Annotated[int, typer.Option("--n", "-n", help="documents")] = 3,
    difficulty: Difficulty = None,
    split: Split = "train",
    seed: Seed = None,
    part: Annotated[str | None, typer.Option(help="of a grid; default: each")] = None,
    changes: Changes = [],  # noqa: B006 typer copies it
) -> None:
    """Print a few documents of a task as a person would want to read them."""
    from experiments.export.documents import describe_task
    from experiments.grid.lookup import tasks_of

    texts = [
        describe_task(title, bound, n=n, split=split, difficulty=difficulty)
        for title, bound in tasks_of(task, changes, part=part, seed=seed).items()
    ]
    typer.echo("\n\n\n".join(texts))


def plan(
    grid: GridName,
    out: Out = RUNS,
    changes: Changes = [],  # noqa: B006 typer copies it
    workers: Annotated[
        int | None, typer.Option(min=1, help="tell the time with so many processes")
    ] = None,
    shard: Shard = None,
    part: Part = None,
    device: Annotated[
        Literal["cpu", "cuda"] | None, typer.Option(help="default: GPUs if there are any")
    ] = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrate", help="measure this device first, some seconds")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
    wide: Annotated[
        bool, typer.Option("--wide", help="every column, however narrow the terminal")
    ] = False,
) -> None:
    """Show the runs of a grid, what they cost and which are done; write nothing."""
    import json

    from experiments.grid.figure_checks import undrawable
    from experiments.grid.grid import load_grid
    from experiments.grid.leakage import leaks
    from experiments.machine import gpus
    from experiments.planning import plan as planning
    from experiments.planning.precision import slow_precision
    from experiments.runs.output import check_output, check_record

    share = parse_shard(shard)
    loaded = load_grid(grid, changes)
    check_output(out)
    check_record(out, loaded.name, file=loaded.file, source=loaded.source, runs=loaded.runs)
    if calibrated:
        kinds = {config.training.precision for config in loaded.runs.values()}
        for precision in sorted(kinds):
            _calibrate(device or ("cuda" if gpus() else "cpu"), precision)
    chosen = loaded.runs_of(part)
    whole = [p for p in planning.plan(loaded, out, device) if p.run_id in chosen]
    planned = planning.of_shard(whole, share)
    shares = None if share is None else planning.side_by_side(whole, share[1], workers)
    if as_json:
        data = planning.as_json(loaded, out, planned, workers, shares)
        typer.echo(json.dumps(data, indent=1, ensure_ascii=False))
    else:
        typer.echo(planning.as_text(loaded, planned, workers, shares, None if wide else columns()))
    configs = loaded.runs.values()
    changed = planning.warnings(loaded.runs, planned, out)
    warnings = (*undrawable(loaded), *planning.caveats(loaded), *leaks(configs), *changed)
    for warning in (*warnings, *slow_precision(configs)):
        typer.echo(warning, err=True)


def columns() -> int:
    """Of the terminal, 80 where there is none."""
    import shutil

    return max(80, shutil.get_terminal_size().columns)


def calibrate(
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, cuda:1; default: a GPU", callback=check_device),
    ] = None,
    precision: Precision = "fp32",
) -> None:
    """Time training steps on this device, so that `plan` can tell how long a grid takes."""
    from experiments.machine import gpus

    _calibrate(device or ("cuda" if gpus() else "cpu"), precision)


def _calibrate(device: str, precision: str) -> None:
    from experiments.planning.calibration import calibrate as measure

    for line in measure(device, precision):
        typer.echo(line, err=True)


def schema(
    of: Annotated[Literal["grid", "run", "card"], typer.Argument(help="what to describe")] = "grid",
    markdown: Annotated[
        bool, typer.Option("--markdown", help="a page for people: every field of a grid file")
    ] = False,
) -> None:
    """Print the JSON schema of a grid file, of a run or of a score card."""
    import json

    from experiments.grid.json_schema import grid_schema, run_schema
    from experiments.grid.reference_page import reference_page

    if markdown:
        typer.echo(reference_page(), nl=False)
        return
    if of == "card":
        from experiments.suite.card import Card

        found = Card.model_json_schema()
    else:
        found = grid_schema() if of == "grid" else run_schema()
    typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
