"""The command `loopscope sample`: documents of a task."""

from typing import Annotated

import typer

from experiments.cli.options import Changes, Difficulty, Seed, Split, TaskName


def sample(
    task: TaskName,
    n: Annotated[int, typer.Option("--n", "-n", help="documents")] = 3,
    difficulty: Difficulty = None,
    split: Split = "train",
    seed: Seed = None,
    part: Annotated[str | None, typer.Option(help="of a grid; default: each")] = None,
    changes: Changes = [],  # noqa: B006 typer copies it
) -> None:
    """Print a few documents of a task as a person would want to read them."""
    from experiments.export.documents import describe_task
    from experiments.grid.lookup import tasks_of

    texts = [
        describe_task(title, bound, n=n, split=split, difficulty=difficulty)
        for title, bound in tasks_of(task, changes, part=part, seed=seed).items()
    ]
    typer.echo("\n\n\n".join(texts))
