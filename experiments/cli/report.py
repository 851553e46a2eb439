"""Results as one HTML page: `loopscope report` to read, `loopscope explore` to touch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.options import RUNS, Results, Strict, Where, telling_problems

if TYPE_CHECKING:
    from experiments.analysis.report.grids import Shipped
    from experiments.results.long_table import Results as ReadResults


def report(
    out: Results = RUNS,
    grid: Annotated[str | None, typer.Option(help="only the runs of this grid")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "--to", help="default: OUT/report.html")
    ] = None,
    claims: Annotated[
        list[str],
        typer.Option(
            "--claim",
            help="as in `loopscope compare`; repeatable; default: capacity-equal, "
            "manipulation-better and needs-fewer-steps",
        ),
    ] = [],  # noqa: B006 typer copies it
    strict: Strict = False,
) -> None:
    """Write verdicts, tables and figures as one HTML page that needs no network."""
    from experiments.analysis.report.page import write_report
    from experiments.analysis.report.verdicts import QUESTION

    read: list[ReadResults] = []
    typer.echo(write_report(out, grid, file, tuple(claims) or QUESTION, shipped, read.append))
    with telling_problems(*read, strict=strict):
        pass


def explore(
    out: Results = RUNS,
    grid: Annotated[str | None, typer.Option(help="only the runs of this grid")] = None,
    to: Annotated[Path | None, typer.Option(help="file; default: OUT/explore.html")] = None,
    where: Where = [],  # noqa: B006 typer copies it
    questions: Annotated[
        int, typer.Option(min=0, help="of each difficulty, stepped through loop by loop")
    ] = 0,
    of: Annotated[
        list[str],
        typer.Option(
            "--of", metavar="RUN", help="to which they are put; repeatable; default: some"
        ),
    ] = [],  # noqa: B006
    strict: Strict = False,
) -> None:
    """Write points, curves and configs as one HTML page to choose axes and filters in."""
    from dataclasses import replace

    from experiments.analysis.explorer.page import write_explorer
    from experiments.notebook.explorer import traces_in
    from experiments.results.long_table import read_results
    from experiments.results.row_filter import parse, select

    results = read_results(out, grid)
    with telling_problems(results, strict=strict):
        results = replace(results, runs=select(results.runs, parse(where)))
        typer.echo(write_explorer(results, to, traces_in(results, questions, of), shipped))


def shipped(name: str) -> "Shipped | None":
    """The grid of this name that comes with loopscope, None where there is none."""
    from experiments.analysis.report.grids import Shipped
    from experiments.grid.grid import SHIPPED, load_grid

    path = SHIPPED / f"{name}.yaml"
    if not path.is_file():
        return None
    points = [
        {"run_id": p.run_id, "part": p.part, "labels": p.labels} for p in load_grid(name).points
    ]
    return Shipped(path.read_text(encoding="utf-8"), points)
