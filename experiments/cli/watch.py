"""Commands that show the progress of runs: `loopscope status` and `loopscope logs`."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.options import RUNS, Results


def status(
    out: Results = RUNS,
    watch: Annotated[
        bool, typer.Option("--watch", help="draw it again until nothing runs; Ctrl-C ends it")
    ] = False,
    every: Annotated[float, typer.Option(min=0.1, help="seconds between two updates")] = 2.0,
) -> None:
    """Show how far every run in a folder is."""
    from experiments.execution.watch import status_text, watch_status

    if watch:
        watch_status(out, every)
    else:
        typer.echo(status_text(out))


def logs(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder of the runs")],
    run: Annotated[str, typer.Argument(metavar="RUN", help="id, or the start of one")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="go on until the run ends; Ctrl-C ends it")
    ] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=1, help="only the last so many")
    ] = None,
) -> None:
    """Print the log of a run: when it started and ended, warnings, tracebacks."""
    from experiments.execution.watch import log_lines
    from experiments.runs.output import find_run

    for line in log_lines(find_run(out, run), follow=follow, last=lines):
        typer.echo(line)
