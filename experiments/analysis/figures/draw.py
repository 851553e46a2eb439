"""Figures are drawn by kind: `draw(kind, out)` writes PNG, SVG and the CSV behind it."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from experiments.analysis.figures.figure import AnyFigure, Figure
from experiments.errors import LoopscopeError


def draw(
    kind: str,
    out: Path | str,
    grid: str | None = None,
    folder: Path | str | None = None,
    **options: Any,
) -> list[Path]:
    """Draws one figure of the results in `out`.

    Args:
        kind: such as `plane`, or `path/to/file.py:ClassName`.
        grid: whose runs; None: all runs in `out`.
        folder: where the files go, `out`/figures by default, beside it where it is an archive.
        options: the fields of the kind, as in a grid file's `figures`.

    Returns:
        The PNG, the SVG and the CSV, named `<grid>-<name>`.

    Raises:
        LoopscopeError: an unknown kind or option, or results that lack what is to be drawn.
    """
    from experiments.analysis.figures.drawing import save, style

    figure = figure_of(kind, **options)
    data = figure.data(Path(out), grid)
    home = Path(out) if Path(out).is_dir() else Path(out).parent  # an archive holds no pictures
    target = home / "figures" if folder is None else Path(folder)
    with style():
        stem = f"{grid}-{figure.file_name}" if grid else figure.file_name
        return save(figure.plot(data), data, target / stem)


def figure_of(kind: str, **options: Any) -> Figure:
    """A figure from its fields, as in a grid file's `figures`.

    Raises:
        LoopscopeError: an unknown kind or option.
    """
    try:
        return TypeAdapter(AnyFigure).validate_python({"kind": kind, **options})
    except ValidationError as error:
        problems = (
            f"  {'.'.join(map(str, p['loc'])) or 'kind'}: {p['msg']}" for p in error.errors()
        )
        raise LoopscopeError("\n".join([f"figure {kind!r}:", *problems])) from error
