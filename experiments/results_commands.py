"""Commands about results: `loopscope table`, `index`, `rm` and `archive`."""

from typing import Annotated

import typer

from experiments.options import RUNS, OutArgument


def table(
    out: OutArgument = RUNS,
    grid: Annotated[str | None, typer.Option(help="only the runs of this grid")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="for a README")] = False,
) -> None:
    """Print the results as tables, with floors, seeds and what failed."""
    from experiments.table import markdown_table, print_table

    if markdown:
        typer.echo(markdown_table(out, grid))
    else:
        print_table(out, grid)
