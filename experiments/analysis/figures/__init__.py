"""Figures, one file per kind: `draw(kind, out)` writes PNG, SVG and the CSV behind it.

`picture(kind, out)` gives the picture itself, for a notebook or to be changed.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from experiments.analysis.figures.figure import AnyFigure, Figure
from experiments.errors import LoopscopeError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Data, Results

__all__ = ["Figure", "draw", "draw_figure", "figure_of", "picture"]


def draw(
    kind: str,
    out: "Data",
    grid: str | None = None,
    folder: Path | str | None = None,
    **options: Any,
) -> list[Path]:
    """Writes one figure of the results in `out`, a folder or an archive.

    Args:
        kind: such as `plane`, or `path/to/file.py:ClassName`.
        out: or what `read_results` read of it, or rows of `load_runs` or `load_curves`.
        grid: whose runs; None: all runs in `out`.
        folder: where the files go; None: `out`/figures, beside `out` where it is an archive, and
            ./figures for rows of a table.
        options: the fields of the kind, as in a grid file's `figures`.

    Returns:
        A file for each of the formats, PNG and SVG unless said otherwise, and the CSV, named
        `<grid>-<name>`.

    Raises:
        LoopscopeError: an unknown kind or option, or results that lack what is to be drawn.
    """
    from experiments.analysis.drawing.style import save, style
    from experiments.results.long_table import read_results

    figure = figure_of(kind, **options)
    results = read_results(out, grid)
    data, made = draw_figure(figure, results)
    target = results.folder / "figures" if folder is None else Path(folder)
    name = grid or results.grid
    stem = f"{name}-{figure.file_name}" if name else figure.file_name
    with style(figure.font, figure.font_size):
        return save(made, data, target / stem, figure.formats)


def picture(kind: str, out: "Data", grid: str | None = None, **options: Any) -> "Picture":
    """One figure of the results in `out` as a matplotlib figure; no file is written.

    Args: as `draw`; `out` may be rows of `load_runs` (or `load_curves`) that you chose.

    Raises:
        LoopscopeError: an unknown kind or option, or results that lack what is to be drawn.
    """
    import matplotlib.pyplot as plt  # which a notebook needs to show what is returned

    from experiments.results.long_table import read_results

    _, made = draw_figure(figure_of(kind, **options), read_results(out, grid))
    plt.close(made)  # one that pyplot keeps would be shown twice
    return made


def draw_figure(figure: Figure, results: "Results") -> "tuple[pd.DataFrame, Picture]":
    """The data of a figure, which know the arms of the whole folder, and the picture.

    Raises:
        LoopscopeError: the results lack what is to be drawn.
    """
    from experiments.analysis.drawing.style import style

    data = figure.data(results)
    data.attrs["arms"] = results.arms
    with style(figure.font, figure.font_size):
        made = figure.plot(data)
    if figure.size is not None:
        made.set_size_inches(figure.size)
    return data, made


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
