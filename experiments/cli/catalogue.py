"""Commands to begin with: `loopscope list`, `loopscope new` and `loopscope notebooks`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

What = Literal["tasks", "probes", "models", "objectives", "figures", "grids", "results"]


def list_all(
    what: Annotated[What, typer.Argument(help="results: reference results that come along")],
) -> None:
    """List what can be named in a grid or to a command, each with a line and its options."""
    from experiments.grid.catalogue import entry_text, listing
    from experiments.results.source import open_source
    from experiments.runs.reference import reference_results

    if what != "results":
        typer.echo(listing(what))
        return
    for name in reference_results():
        source = open_source(f"reference:{name}")
        runs = len({point.run_id for point in source.points()})
        grids = ", ".join(source.grids)
        typer.echo(entry_text(f"reference:{name}", f"{runs} runs", f"grids: {grids}"))


def new(
    what: Annotated[
        Literal["grid", "task", "probe", "model", "objective", "figure"],
        typer.Argument(help="what to begin"),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="of the file and of the kind")],
    folder: Annotated[
        Path, typer.Option(help="where the file goes", exists=True, file_okay=False)
    ] = Path(),
) -> None:
    """Write a commented skeleton that runs as it is; nothing is ever overwritten."""
    from experiments.grid.catalogue import begin

    path, tried = begin(what, name, folder)
    typer.echo(f"{path}\ntry it: {tried}")


def notebooks(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="made where it is not there")],
) -> None:
    """Copy the notebooks into a folder; one that is there is left as it is."""
    from experiments.notebook import copy_notebooks, lacking

    for line in copy_notebooks(folder):
        typer.echo(line)
    typer.echo(f"`jupyter lab {folder}` opens them")
    if missing := lacking():
        typer.echo(missing, err=True)
