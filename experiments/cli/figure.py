"""The command `loopscope figure`: pictures of results, by grid or by the kind of figure."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.options import RUNS, Out, Strict, Where, telling_problems
from experiments.errors import LoopscopeError

if TYPE_CHECKING:
    from experiments.results.source import Source


def figure(
    grid: Annotated[
        str, typer.Argument(metavar="GRID|FIGURE", help="a shipped grid, a YAML file, or a figure")
    ],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FIGURE]...|OUT",
            help="names or kinds, all if none; after a figure, the folder of the runs",
        ),
    ] = None,
    out: Out = RUNS,
    folder: Annotated[Path | None, typer.Option(help="default: OUT/figures")] = None,
    where: Where = [],  # noqa: B006 typer copies it
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="png, svg or pdf; repeatable; default: png and svg"),
    ] = None,
    size: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="WIDTH HEIGHT", help="inches; default: as its panels need"),
    ] = None,
    font: Annotated[str | None, typer.Option(help="family of the letters, such as serif")] = None,
    font_size: Annotated[float | None, typer.Option(help="points; default: 9")] = None,
    strict: Strict = False,
) -> None:
    """Draw the figures of a grid, or one figure of whatever is in a folder.

    `loopscope figure GRID [FIGURE]... --out OUT` or `loopscope figure FIGURE OUT`.
    """
    from experiments.analysis.figures import figure_of
    from experiments.cli.run import draw_figures
    from experiments.results.long_table import read_results
    from experiments.results.row_filter import parse
    from experiments.results.source import open_source

    looks: dict[str, Any] = {"formats": formats, "size": size, "font": font, "font_size": font_size}
    asked_for: dict[str, Any] = {name: value for name, value in looks.items() if value}
    place, wanted = figures_asked(grid, names or [])
    wanted = {name: [{**f, **asked_for} for f in asked] for name, asked in wanted.items()}
    for asked in wanted.values():
        for fields in asked:
            figure_of(**fields)  # a wrong name is told before results are looked for
    source = open_source(out) if place is None else place
    named = {condition.column for condition in parse(where)}
    read = {name: read_results(source, name) for name in wanted}
    with telling_problems(*read.values(), strict=strict):
        for name, figures in wanted.items():
            draw_figures([_narrowed(f, where, named) for f in figures], read[name], folder)
            typer.echo(read[name].read_from, err=True)


def _narrowed(figure: dict[str, Any], where: list[str], named: set[str]) -> dict[str, Any]:
    """With more conditions; what the figure itself asks of a column named there is forgotten."""
    if not where:
        return figure
    kept = {k: v for k, v in figure.get("where", {}).items() if k not in named}
    return {**figure, "where": kept, "conditions": [*figure.get("conditions", ()), *where]}


def figures_asked(
    first: str, others: list[str]
) -> tuple["Source | None", dict[str | None, list[dict[str, Any]]]]:
    """What the arguments name: results where they hold some, and grid -> figures.

    After a figure, a folder or an archive of runs is told from a kind by being there.

    Raises:
        LoopscopeError: there is no such grid, or it lists no figures.
    """
    from experiments.analysis.figures.figure import Figure
    from experiments.grid.grid import UnknownGrid
    from experiments.results.source import open_source
    from experiments.runs.output import OUTPUT_FILE
    from experiments.runs.reference import place_of
    from generators.plugins import choices, nearest

    kinds = choices(Figure, "experiments.analysis.figures")
    first, *others = map(_absolute, (first, *others))
    own = first.rpartition(":")[0].endswith(".py")
    if len(others) == 1 and others[0] not in kinds:
        out = place_of(others[0])
        if out.is_file() or (out / OUTPUT_FILE).is_file():
            source = open_source(others[0])
            found = _of_results(first, source, known=own or first in kinds)
            if found:
                return source, found
    try:
        if own:
            raise UnknownGrid(first)
        return None, _of_grid(first, others)
    except UnknownGrid as error:
        if own or first in kinds:
            raise LoopscopeError(
                f"{first} is a figure: `loopscope figure {first} OUT` draws it, of the runs in OUT"
            ) from error
        names = ", ".join(kinds)
        hint = nearest(first, kinds)
        raise LoopscopeError(f"{error}; nor is it a figure{hint}; figures are {names}") from error


def _absolute(name: str) -> str:
    """`path/to/file.py:Class` as records hold it, with the whole path; other names as they are.

    Raises:
        LoopscopeError: the file holds no such figure.
    """
    from experiments.analysis.figures import figure_of
    from generators.plugins import path_of

    if not re.search(r"\.py:\w+$", name) or Path(name).exists():
        return name
    return path_of(type(figure_of(name))) or name


def _of_results(
    name: str, source: "Source", *, known: bool
) -> dict[str | None, list[dict[str, Any]]]:
    """As the grids in the folder list the figure; a known kind that none lists, of all runs."""
    grids = source.grids
    found: dict[str | None, list[dict[str, Any]]] = {}
    for grid, record in grids.items():
        if figures := _named(name, (record or {}).get("figures", [])):
            found[grid] = figures
    if known and not found:
        found[next(iter(grids)) if len(grids) == 1 else None] = [{"kind": name}]
    return found


def _of_grid(grid: str, names: list[str]) -> dict[str | None, list[dict[str, Any]]]:
    """As the file of the grid lists them."""
    from experiments.grid.grid import load_grid

    loaded = load_grid(grid)
    wanted = list(loaded.figures)
    if names:
        wanted = [found for name in names for found in _named(name, wanted) or [{"kind": name}]]
    if not wanted:
        raise LoopscopeError(f"grid {loaded.name} lists no figures; name a kind to draw")
    return {loaded.name: wanted}


def _named(name: str, figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [f for f in figures if name in (f.get("name"), f.get("kind"))]
