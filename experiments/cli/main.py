"""The command `loopscope`. Everything heavy is imported by the command that needs it."""

import sys
from collections.abc import Callable
from typing import Annotated, Literal

import typer

from experiments.cli import bench as data_commands
from experiments.cli import compare as verdict_commands
from experiments.cli import figure as figure_commands
from experiments.cli import plan as plan_commands
from experiments.cli import probe as probe_commands
from experiments.cli import report as report_commands
from experiments.cli import results as results_commands
from experiments.cli import run as run_commands
from experiments.cli import watch as watch_commands
from experiments.cli.options import RUNS, Out, Overrides
from experiments.errors import LoopscopeError
from experiments.export.weights import export

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from experiments.runs.schema_version import release

        typer.echo(f"loopscope {release()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What does a transformer gain when it runs the same layers several times?"""


def sample(
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="a kind of task, a file.py:Class or a grid")
    ],
    n: Annotated[int, typer.Option("--n", "-n", help="documents")] = 3,
    difficulty: Annotated[int | None, typer.Option(help="default: as in training")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test")] = "train",
    seed: Annotated[int | None, typer.Option(help="of world and documents")] = None,
    part: Annotated[str | None, typer.Option(help="of a grid; default: each")] = None,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Print a few documents of a task as a person would want to read them."""
    from experiments.grid.lookup import describe, tasks_of

    texts = [
        describe(title, bound, n=n, split=split, difficulty=difficulty)
        for title, bound in tasks_of(task, overrides, part=part, seed=seed).items()
    ]
    typer.echo("\n\n\n".join(texts))


def diff(
    first: Annotated[str, typer.Argument(metavar="RUN", help="folder, id or start of an id")],
    second: Annotated[str, typer.Argument(metavar="RUN")],
    out: Out = RUNS,
) -> None:
    """Show in which fields two runs differ."""
    from experiments.results.diff import differences, run_folder
    from experiments.text import aligned

    one, two = run_folder(first, out), run_folder(second, out)
    rows = differences(one.path, two.path)
    head = ("field", one.run_id, two.run_id)
    typer.echo(aligned([head, *rows]) if rows else "the same configuration")


def schema(
    of: Annotated[Literal["grid", "run"], typer.Argument(help="what to describe")] = "grid",
) -> None:
    """Print the JSON schema of a grid file or of a run."""
    import json

    from experiments.grid.json_schema import grid_schema, run_schema

    found = grid_schema() if of == "grid" else run_schema()
    typer.echo(json.dumps(found, indent=1, ensure_ascii=False))


#: panel of the help -> its commands, both in the order in which one needs them
PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Before training": {
        "sample": sample,
        "schema": schema,
        "plan": plan_commands.plan,
        "calibrate": plan_commands.calibrate,
    },
    "Running": {
        "run": run_commands.run,
        "status": watch_commands.status,
        "logs": watch_commands.logs,
        "probe": probe_commands.probe,
        "rm": results_commands.rm,
    },
    "Results": {
        "table": results_commands.table,
        "figure": figure_commands.figure,
        "compare": verdict_commands.compare,
        "report": report_commands.report,
        "diff": diff,
        "index": results_commands.index,
        "archive": results_commands.archive,
    },
    "For other programs": {"export": export, "export-data": data_commands.export_data},
}

for _panel, _commands in PANELS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_command)
app.add_typer(data_commands.bench, name="bench", rich_help_panel="Speed of this machine")


def main() -> None:
    """Entry point: what a person can mend is a message and exit status 2, not a traceback."""
    try:
        app(prog_name="loopscope")
    except LoopscopeError as error:
        typer.echo(error, err=True)
        sys.exit(2)
    except OSError as error:
        names = " -> ".join(str(f) for f in (error.filename, error.filename2) if f is not None)
        typer.echo(": ".join(filter(None, (names, error.strerror or str(error)))), err=True)
        sys.exit(2)
    except MemoryError as error:
        typer.echo(f"more memory is needed than there is; ask for less. {error}".strip(), err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
