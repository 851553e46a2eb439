"""Commands about results: `loopscope table`, `diff`, `index`, `archive` and `rm`."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.options import (
    RUNS,
    Out,
    OutArgument,
    Results,
    RunName,
    Strict,
    Where,
    telling_problems,
)


def table(
    out: Results = RUNS,
    grid: Annotated[str | None, typer.Option(help="only the runs of this grid")] = None,
    by: Annotated[
        list[str],
        typer.Option(
            "--by", metavar="COLUMN,…", help="a row for each of their values; default: arms"
        ),
    ] = [],  # noqa: B006 typer copies it
    where: Where = [],  # noqa: B006
    markdown: Annotated[bool, typer.Option("--markdown", help="for a README")] = False,
    wide: Annotated[
        bool, typer.Option("--wide", help="every column, however narrow the terminal")
    ] = False,
    strict: Strict = False,
) -> None:
    """Print the results in a folder or an archive as tables, with floors, seeds and what failed."""
    from experiments.analysis.tables.tables import markdown_table, print_table
    from experiments.results.long_table import read_results

    columns = [name.strip() for text in by for name in text.split(",")]
    results = read_results(out, grid)
    with telling_problems(results, strict=strict):
        if markdown:
            typer.echo(markdown_table(results, where=where, by=columns))
        else:
            print_table(results, where=where, by=columns, wide=wide)
        typer.echo(results.read_from, err=True)


def diff(
    first: RunName,
    second: Annotated[str, typer.Argument(metavar="RUN")],
    out: Out = RUNS,
) -> None:
    """Show in which fields two runs differ."""
    from experiments.results.diff import differences
    from experiments.runs.output import run_folder
    from experiments.text import aligned

    one, two = run_folder(first, out), run_folder(second, out)
    rows = differences(one.path, two.path)
    head = ("field", one.run_id, two.run_id)
    typer.echo(aligned([head, *rows]) if rows else "the same configuration")


def archive(
    out: OutArgument = RUNS,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="default: OUT.zip beside OUT")
    ] = None,
    add: Annotated[
        list[Path],
        typer.Option(metavar="ZIP", help="archive whose runs go in too, where OUT lacks them"),
    ] = [],  # noqa: B006 typer copies it
) -> None:
    """Put the results of a folder, without weights, into one file that is read as the folder is."""
    from experiments.results.archive import write_archive
    from experiments.runs.output import check_output
    from experiments.text import bytes_text

    _check_folder(out)
    check_output(out)
    target = out.absolute().parent / f"{out.absolute().name}.zip" if file is None else file
    built = write_archive(out, target, add=add)
    for problem in built.problems:
        typer.echo(problem, err=True)
    tables, size = built.tables, bytes_text(target.stat().st_size)
    typer.echo(f"{target}: {tables.runs.num_rows} runs, {tables.lines.num_rows} lines, {size}")


def rm(
    out: OutArgument = RUNS,
    where: Where = [],  # noqa: B006
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
) -> None:
    """Remove runs for good, after showing them and asking; never one that is worked on."""
    from experiments.results.removal import as_text, candidates, remove
    from experiments.results.row_filter import parse
    from experiments.text import bytes_text

    chosen = candidates(out, parse(where))
    for stays in (c for c in chosen if c.refusal):
        typer.echo(f"{stays.folder.run_id} stays: {stays.refusal}", err=True)
    wrong = any(c.refusal for c in chosen)
    goes = [c for c in chosen if not c.refusal]
    if goes:
        typer.echo(as_text(goes))
        size = bytes_text(sum(c.size for c in goes))
        if not yes:
            typer.confirm(f"Remove these {len(goes)} runs ({size}) for good?", abort=True)
        for run_id, problem in remove(out, goes):
            wrong |= bool(problem)
            typer.echo(f"{run_id} stays: {problem}" if problem else f"removed {run_id}", err=True)
    if wrong:
        raise typer.Exit(2)


def _check_folder(out: Path) -> None:
    from experiments.errors import LoopscopeError
    from experiments.runs.output import no_folder

    if not out.is_dir():
        raise LoopscopeError(no_folder(out))
