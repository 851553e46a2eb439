"""Commands for a model of one's own: `loopscope check` and `loopscope score`."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.options import Changes, telling_problems
from experiments.errors import LoopscopeError

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="path.py:Class, a YAML file with `model:`, or a record"),
]
#: how the outcome of a check begins its line
MARKS = {"ok": "ok   ", "wrong": "WRONG", "note": "note "}


def check(
    model: Model,
    width: Annotated[int, typer.Option(min=1, help="at which it is built")] = 32,
    changes: Changes = [],  # noqa: B006 typer copies it
) -> None:
    """Build a model and check what the lab asks of it: shapes, causality, loops, counts."""
    from experiments.suite.entry import find_entry
    from models.contract import check_contract

    entry = find_entry(model, changes)
    for note in entry.notes:
        typer.echo(note, err=True)
    found = check_contract(entry.config.model_copy(update={"width": width}))
    for one in found:
        typer.echo(f"{MARKS[one.outcome]} {one.what}: {one.message}")
    wrong = sum(one.outcome == "wrong" for one in found)
    if wrong:
        typer.echo(f"{wrong} of {len(found)} are wrong; the contract: models/contract.py", err=True)
        raise typer.Exit(1)
    typer.echo(f"`loopscope score {model} --out OUT` scores it", err=True)


def score(
    model: Model,
    out: Annotated[Path, typer.Option(help="folder of the runs and the card")],
    size: Annotated[str, typer.Option(metavar="tiny|small|gpu", help="of the suite")] = "small",
    axes: Annotated[
        str | None, typer.Option(metavar="A,B", help="default: all that there are at the size")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="runs at once; default: one a core or GPU slot")
    ] = None,
    stack: Annotated[
        str | None, typer.Option(metavar="N|auto", help="runs of one shape trained in one pass")
    ] = "auto",
    changes: Changes = [],  # noqa: B006
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="write OUT/score.yaml, the grid, and train nothing")
    ] = False,
    allow_drift: Annotated[
        bool, typer.Option("--allow-drift", help="resume although code or libraries changed")
    ] = False,
) -> None:
    """Train a model and its matched references on the suite, and write its score card."""
    from experiments.execution.backends.options import backend_options
    from experiments.execution.runner import run_grid
    from experiments.results.long_table import read_results
    from experiments.suite.axes import chosen
    from experiments.suite.card import make_card
    from experiments.suite.entry import find_entry
    from experiments.suite.grid import NAME, write_grid
    from experiments.suite.page import card_table, write_card

    if workers is not None and workers < 1:
        raise LoopscopeError(f"--workers needs 1 or more, got {workers}")
    entry = find_entry(model, changes)
    for note in entry.notes:
        typer.echo(note, err=True)
    wanted = chosen(None if axes is None else [a.strip() for a in axes.split(",")], size)
    card_grid = write_grid(entry, wanted, size, out)
    if dry_run:
        typer.echo(f"{out / NAME}.yaml\n`loopscope plan {out / NAME}.yaml --out {out}` tells times")
        return
    where = backend_options("local", [], workers=workers, slots_per_gpu=None, stack=stack)
    outcome = run_grid(card_grid.grid, out, backend=where, allow_drift=allow_drift)
    results = read_results(out, NAME)
    with telling_problems(results):
        card = make_card(entry, card_grid, wanted, size, results)
        typer.echo(card_table(card).markdown())
        for path in write_card(card, out):
            typer.echo(path)
    if outcome.interrupted:
        typer.echo(f"stopped; the same command goes on with {card.unfinished} runs", err=True)
    raise typer.Exit(outcome.exit_status)


records = typer.Typer(
    invoke_without_command=True, help="Scored architectures: the table; check and add."
)


@records.callback()
def show_records(context: typer.Context) -> None:
    """Print the architectures that come with loopscope, and their scores."""
    if context.invoked_subcommand is None:
        from rich.console import Console

        from experiments.suite.records import records_table

        records_table().draw(Console())


@records.command("check")
def check_one(
    name: Annotated[str, typer.Argument(metavar="NAME", help="of a record")],
    out: Annotated[Path, typer.Option(help="folder of the run")] = Path("runs/check"),
    seed: Annotated[int, typer.Option(min=0, help="which run is drawn")] = 0,
) -> None:
    """Train one run of a record again, drawn at random, and compare what it measures."""
    from experiments.suite.records import check_record

    found = check_record(name, out, seed)
    typer.echo(found.table.markdown())
    if found.outside:
        typer.echo(f"{found.outside} numbers lie outside of the record's seeds", err=True)
        raise typer.Exit(1)


@records.command("add")
def add_one(
    name: Annotated[str, typer.Argument(metavar="NAME", help="of a folder with model.yaml")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="of `loopscope score NAME`")],
) -> None:
    """Copy card, grid and numbers of a finished score into a record."""
    from experiments.suite.records import add_record

    typer.echo(add_record(name, out))
