"""The command `loopscope`. Everything heavy is imported by the command that needs it."""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from experiments.cli.bench import bench
from experiments.cli.catalogue import list_all, new, notebooks
from experiments.cli.compare import compare
from experiments.cli.export import export, export_data
from experiments.cli.figure import figure
from experiments.cli.plan import calibrate, plan, sample, schema
from experiments.cli.probe import probe
from experiments.cli.report import explore, report
from experiments.cli.results import archive, diff, rm, table
from experiments.cli.run import run
from experiments.cli.score import check, records, score
from experiments.cli.terminal import fit_output_to_terminal
from experiments.cli.watch import logs, status
from experiments.errors import LoopscopeError

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


#: panel of the help -> its commands, both in the order in which one needs them
PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "To begin with": {"list": list_all, "new": new, "notebooks": notebooks},
    "Before training": {
        "check": check,
        "sample": sample,
        "schema": schema,
        "plan": plan,
        "calibrate": calibrate,
    },
    "Running": {
        "run": run,
        "score": score,
        "status": status,
        "logs": logs,
        "probe": probe,
        "rm": rm,
    },
    "Results": {
        "table": table,
        "figure": figure,
        "compare": compare,
        "report": report,
        "explore": explore,
        "diff": diff,
        "archive": archive,
    },
    "For other programs": {"export": export, "export-data": export_data},
}

for _panel, _commands in PANELS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_command)
app.add_typer(records, name="records", rich_help_panel="Results")
app.add_typer(bench, name="bench", rich_help_panel="Speed of this machine")


def main() -> None:
    """Entry point: what a person can mend is a message and exit status 2, not a traceback."""
    fit_output_to_terminal()
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
