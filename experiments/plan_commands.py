"""Commands that tell what a grid costs: `loopscope plan` and `loopscope calibrate`."""

from typing import Annotated

import typer

from experiments.options import RUNS, GridName, Out, Overrides


def plan(
    grid: GridName,
    out: Out = RUNS,
    overrides: Overrides = [],  # noqa: B006 typer copies it
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Show the runs of a grid, what they cost and which are done; write nothing."""
    import json

    from experiments import plan as planning
    from experiments.grid import load_grid
    from experiments.store import check_output

    loaded = load_grid(grid, overrides)
    check_output(out)
    planned = planning.plan(loaded, out)
    if as_json:
        data = planning.as_json(loaded, out, planned)
        typer.echo(json.dumps(data, indent=1, ensure_ascii=False))
    else:
        typer.echo(planning.as_text(loaded, planned))
