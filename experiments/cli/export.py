"""Commands for other programs: `loopscope export` and `loopscope export-data`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from experiments.cli.options import (
    RUNS,
    Difficulty,
    Out,
    RunName,
    Seed,
    Split,
    TaskName,
)


def export(
    run: RunName,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="default: RUN.safetensors, RUN-ouro.safetensors or a folder RUN-hf, here",
        ),
    ] = None,
    out: Out = RUNS,
    format: Annotated[
        Literal["safetensors", "ouro", "hf"],
        typer.Option(
            help="our names of the parameters, those of the published Ouro, or a folder for "
            "transformers, code included"
        ),
    ] = "safetensors",
) -> None:
    """Write the weights of a finished run for other programs."""
    from experiments.export.weights import export_run

    typer.echo(export_run(run, file, out, format))


def export_data(
    task: TaskName,
    file: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="the card goes beside it")],
    n: Annotated[int, typer.Option("--n", "-n", help="documents")] = 10_000,
    difficulty: Difficulty = None,
    split: Split = "train",
    seed: Seed = None,
    part: Annotated[str | None, typer.Option(help="of a grid with several")] = None,
    changes: Annotated[
        list[str], typer.Option("--set", metavar="A.B=V", help="a field of the task; repeatable")
    ] = [],  # noqa: B006 typer copies it
) -> None:
    """Write documents as Parquet, with a card: definition, seed, hash, floors, bits, sources."""
    from experiments.export.dataset import export_dataset
    from experiments.grid.lookup import task_of

    bound = task_of(task, changes, part=part, seed=seed)
    for path in export_dataset(bound, file, n=n, split=split, difficulty=difficulty):
        typer.echo(path)
