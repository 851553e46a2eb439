"""Arguments and options that several commands share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.errors import LoopscopeError

if TYPE_CHECKING:
    from experiments.results.long_table import Results as ReadResults

RUNS = Path("runs")

GridName = Annotated[str, typer.Argument(metavar="GRID", help="a shipped grid, or a YAML file")]
Out = Annotated[Path, typer.Option(help="folder of the runs")]
OutArgument = Annotated[Path, typer.Argument(metavar="[OUT]", help="folder of the runs")]
Results = Annotated[
    Path, typer.Argument(metavar="[OUT]", help="folder or archive of runs, or reference:NAME")
]
Changes = Annotated[
    list[str], typer.Option("--set", metavar="A.B=V", help="a value for every run; repeatable")
]
TaskName = Annotated[
    str, typer.Argument(metavar="TASK", help="a kind of task, a file.py:Class or a grid")
]
Difficulty = Annotated[int | None, typer.Option(help="default: as in training")]
Split = Annotated[str, typer.Option(help="train, validation or test")]
Seed = Annotated[int | None, typer.Option(help="of world and documents")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="folder, id or start of an id")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="all numbers, for programs")]
Workers = Annotated[int | None, typer.Option(help="runs at once; default: one a core or GPU slot")]
AllowDrift = Annotated[
    bool, typer.Option("--allow-drift", help="resume although code or libraries changed")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="try again what failed before")]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N", help="the I-th of N shares; a run is in that of the run it starts from"
    ),
]
Part = Annotated[
    str | None,
    typer.Option(help="of a grid: its runs, and those that they start from; default: all"),
]
Where = Annotated[
    list[str],
    typer.Option("--where", metavar="EXPR", help="such as 'task=bios,k=1,width>=64'; repeatable"),
]


Strict = Annotated[
    bool, typer.Option("--strict", help="exit with status 1 where a run is left out as damaged")
]


@contextmanager
def telling_problems(*read: "ReadResults", strict: bool = False) -> Iterator[None]:
    """Says at the end which runs are left out and which are not pooled, also after an error.

    Raises:
        typer.Exit: with status 1, where a run is left out and that is asked for.
    """
    try:
        yield
    finally:
        for text in dict.fromkeys(t for of in read for t in (*of.problems, *of.notes)):
            typer.echo(text, err=True)
    if strict and any(of.problems for of in read):
        raise typer.Exit(1)


def check_device(name: str | None) -> str | None:
    """The name itself.

    Raises:
        typer.BadParameter: it names no CPU and no CUDA device.
    """
    kind, colon, number = (name or "cpu").partition(":")
    if name == "" or kind not in ("cpu", "cuda") or (colon and not number.isdecimal()):
        raise typer.BadParameter(f"{name}: needs cpu, cuda or one of several such as cuda:1")
    return name


Device = Annotated[str, typer.Option(help="cpu, or cuda", callback=check_device)]


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """I and N, or None where no share was named.

    Raises:
        LoopscopeError: `text` is not I/N with 1 ≤ I ≤ N.
    """
    if text is None:
        return None
    first, _, second = text.partition("/")
    try:
        i, n = int(first), int(second)
    except ValueError:
        i, n = 0, 0
    if not 1 <= i <= n:
        raise LoopscopeError(
            f"--shard {text}: needs I/N with I from 1 to N, such as 1/3, 2/3 and 3/3"
        )
    return i, n
