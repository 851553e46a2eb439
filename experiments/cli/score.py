"""Commands for a model of one's own: `loopscope check` and `loopscope score`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.options import AllowDrift, Changes, RetryFailed, Workers, telling_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from experiments.suite.entry import Entry
    from experiments.suite.grid import CardGrid
    from experiments.suite.scoring import Suite

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="path.py:Class, a YAML file with `model:`, or a record"),
]
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL…", help="each path.py:Class, a YAML file with `model:`, or a record"
    ),
]
CardFolder = Annotated[Path, typer.Option("--out", help="folder of the runs and the cards")]
Size = Annotated[str, typer.Option(metavar="tiny|small|gpu", help="of the suite")]
Axes = Annotated[
    str | None, typer.Option(metavar="A,B", help="default: all that there are at the size")
]
References = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="whose references all are compared with; default: own"),
]
TrainReferences = Annotated[
    bool, typer.Option("--train-references", help="also those that the record of MODEL has")
]
Stack = Annotated[
    str | None, typer.Option(metavar="N|auto", help="runs of one shape trained in one pass")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="write the grids, and train nothing")]
#: how the outcome of a check begins its line
MARKS = {"ok": "ok   ", "wrong": "WRONG", "note": "note "}


def check(
    model: Model,
    width: Annotated[int, typer.Option(min=1, help="at which it is built")] = 32,
    changes: Changes = [],  # noqa: B006 typer copies it
) -> None:
    """Build a model and check what the lab asks of it: shapes, causality, loops, counts."""
    from experiments.suite.entry import find_entry
    from experiments.suite.scoring import CHECKED, check_entry

    entry = find_entry(model, changes)
    for note in entry.notes:
        typer.echo(note, err=True)
    found = check_entry(entry, *CHECKED, width=width)
    for one in found:
        typer.echo(f"{MARKS[one.outcome]} {one.what}: {one.message}")
    wrong = sum(one.outcome == "wrong" for one in found)
    if wrong:
        typer.echo(f"{wrong} of {len(found)} are wrong; the contract: models/contract.py", err=True)
        raise typer.Exit(1)
    typer.echo(f"`loopscope score {model} --out OUT` scores it", err=True)


def score(
    models: Models,
    out: CardFolder,
    size: Size = "small",
    axes: Axes = None,
    references: References = None,
    train_references: TrainReferences = False,
    workers: Workers = None,
    stack: Stack = "auto",
    changes: Changes = [],  # noqa: B006
    dry_run: DryRun = False,
    allow_drift: AllowDrift = False,
    retry_failed: RetryFailed = False,
) -> None:
    """Train models and their matched references on the suite, and write a score card of each.

    A run that several need, such as that of a reference, is trained once in a folder. On two cores
    `tiny` takes about ten minutes and `small` an hour; with `--references loop`, whose record is
    read, a model takes 3 to 4 and 15 to 27.
    """
    from experiments.execution.backends.options import backend_options
    from experiments.suite.axes import chosen
    from experiments.suite.comparison import PAGE, cards_in, write_comparison
    from experiments.suite.entry import find_entries, find_entry
    from experiments.suite.grid import NAME
    from experiments.suite.recorded import recorded_runs
    from experiments.suite.scoring import Suite, refuse_broken

    where = backend_options("local", workers=workers, stack=stack)
    entries = find_entries(models, changes)
    for note in (f"{entry.name}: {n}" for entry in entries for n in entry.notes):
        typer.echo(note, err=True)
    other = None if references is None else find_entry(references)
    wanted = chosen(None if axes is None else [a.strip() for a in axes.split(",")], size)
    known = None if references is None or train_references else recorded_runs(references, size)
    suite = Suite(out, size, tuple(wanted), other, known)
    refuse_broken(entries, wanted, size)
    grids = suite.write_grids(entries)  # all, before any is trained
    if dry_run:
        for entry, grid in zip(entries, grids, strict=True):
            path = suite.folder(entry) / f"{NAME}.yaml"
            there = len({point.run_id for point in suite.from_record(grid.grid)})
            less = (
                f", {there} runs of references among it that are read from the record"
                if there
                else ""
            )
            typer.echo(f"{path}\n`loopscope plan {path} --out {out}` tells times{less}")
        return
    how = {"backend": where, "allow_drift": allow_drift, "retry_failed": retry_failed}
    status = _train(suite, entries, grids, how)
    if len(cards := cards_in(out)) > 1:
        typer.echo(write_comparison(cards, out / PAGE))
    raise typer.Exit(status)


def _train(
    suite: "Suite",
    entries: "Sequence[Entry]",
    grids: "Sequence[CardGrid]",
    how: "dict[str, Any]",
) -> int:
    """Trains what the cards lack, and writes each; the exit status of all.

    Args:
        how: options of `run_grid`.
    """
    from experiments.execution.runner import run_grid

    status = 0
    for entry, grid in zip(entries, grids, strict=True):
        if there := {point.run_id for point in suite.from_record(grid.grid)}:
            typer.echo(
                f"{entry.name}: {len(there)} runs of references are read from the record; "
                "--train-references trains them here",
                err=True,
            )
        todo = suite.left_to_train(grid)
        outcome = run_grid(todo, suite.out, **how)
        left = _write_card(suite, entry, grid)
        status = max(status, outcome.exit_status)
        if outcome.interrupted:
            typer.echo(
                f"stopped; the same command goes on with {left} runs of {entry.name}", err=True
            )
            break
    return status


def _write_card(suite: "Suite", entry: "Entry", grid: "CardGrid") -> int:
    """Prints and writes the card of a model; how many of its runs are not done."""
    from experiments.suite.page import card_table, write_card

    results = suite.results(grid)
    with telling_problems(results):
        card = suite.card(entry, grid, results)
        typer.echo(card_table(card).markdown())
        for path in write_card(card, suite.folder(entry), suite.out):
            typer.echo(path)
    return card.unfinished


records = typer.Typer(
    invoke_without_command=True, help="Scored architectures: the table; check and add."
)


@records.callback()
def show_records(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Option(help="HTML page of all that are scored, with every radar")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="tiny|small|gpu", help="default: all; on a page that of most"),
    ] = None,
    wide: Annotated[
        bool, typer.Option("--wide", help="every column, however narrow the terminal")
    ] = False,
) -> None:
    """Print the architectures that come with loopscope, and their scores."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from experiments.analysis.html import page_target
    from experiments.suite.comparison import write_comparison
    from experiments.suite.records import records_table, scored

    if file is not None:
        page_target(file, "--file")
        typer.echo(write_comparison(scored(size), file))
        return
    console = Console()
    table = records_table(size)
    (table if wide else table.within(console.width)).draw(console)


@records.command("check")
def check_one(
    name: Annotated[str, typer.Argument(metavar="NAME", help="of a record")],
    out: Annotated[Path, typer.Option(help="folder of the run")] = Path("runs/check"),
    seed: Annotated[
        int | None, typer.Option(min=0, help="of the draw; default: another each time")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="tiny|small|gpu", help="default: the largest that is scored"),
    ] = None,
) -> None:
    """Train one run of a record again, drawn at random, and compare what it measures."""
    import secrets
    from functools import partial

    from experiments.suite.records import check_record

    drawn = secrets.randbelow(1000) if seed is None else seed
    found = check_record(name, out, drawn, size=size, notify=partial(typer.echo, err=True))
    typer.echo(found.table.markdown())
    if found.outside:
        typer.echo(f"{found.outside} numbers lie outside of the record's seeds", err=True)
        raise typer.Exit(1)


@records.command("foretold")
def foretold(
    low: Annotated[str, typer.Argument(metavar="SIZE", help="that foretells")] = "tiny",
    high: Annotated[str, typer.Argument(metavar="SIZE", help="that is foretold")] = "small",
    beside: Annotated[str, typer.Option(help="record from which the others differ")] = "loop",
) -> None:
    """Print how far scores at one size foretell those at another."""
    from rich.console import Console

    from experiments.suite.foretold import foretold_table

    foretold_table(low, high, beside).draw(Console())


@records.command("add")
def add_one(
    name: Annotated[str, typer.Argument(metavar="NAME", help="of a folder with model.yaml")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="of `loopscope score NAME`")],
) -> None:
    """Copy card, grid and numbers of a finished score into a record."""
    from experiments.suite.records import add_record

    typer.echo(add_record(name, out))
