"""The command `loopscope report`: results as one HTML page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.options import RUNS, Results, Strict, telling_problems

if TYPE_CHECKING:
    from experiments.analysis.report.grids import Shipped
    from experiments.results.long_table import Results as ReadResults


def report(
    out: Results = RUNS,
    grid: Annotated[str | None, typer.Option(help="only the runs of this grid")] = None,
    file: Annotated[Path | None, typer.Option(help="default: OUT/report.html")] = None,
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
