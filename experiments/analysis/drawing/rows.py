"""Shares from 0 to 1 as points in rows, a row for each name: an interval about each."""

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from experiments.analysis.drawing.panels import (
    FLOOR_ENTRY,
    Facets,
    entries,
    faint,
    finish,
    names_of,
)
from experiments.analysis.drawing.style import FLOOR, GREY, arm_looks, points
from experiments.analysis.drawing.words import in_words

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture


def plot_rows(
    cells: "pd.DataFrame",
    seeds: "pd.DataFrame",
    label: str,
    *,
    columns: int,
    title: str | None,
    caption: Sequence[str],
) -> "Picture":
    """`mean` to the right, a row per `name`, a panel per `panel`, colours by arm.

    Args:
        cells: a point each: `panel`, `arm`, `name`, `mean`, `low`, `high`, `floor` and `text`,
            which stands beside it; no two of a row, unless they are of different arms.
        seeds: faint points, with `value`; perhaps none.
        label: of the x axis.
        columns: panels in a row, if there are some and not too many.
    """
    from seaborn.objects import Dot, Range

    looks = arm_looks(cells)
    names = list(dict.fromkeys(cells["name"]))
    shared = cells.groupby(["panel", "name"])["arm"].nunique().max() > 1
    step = 0.6 / len(looks) if shared else 0.0
    aside = {arm: step * (i - (len(looks) - 1) / 2) for i, arm in enumerate(looks)}

    def placed(rows: "pd.DataFrame") -> "pd.DataFrame":
        return rows.assign(at=rows["name"].map(names.index) + rows["arm"].map(aside))

    cells = placed(cells)
    variables = {"x": "mean", "y": "at", "color": "arm", "marker": "arm"}
    columns = columns if 1 < columns < 5 else 4
    facets = Facets(names_of(cells), (label, ""), looks, columns=columns, **variables)
    facets.add(faint(), placed(seeds), x="value")
    ends = {"x": None, "xmin": "low", "xmax": "high"}
    facets.add(Range(linewidth=1.2), cells, orient="y", **ends)
    facets.add(Dot(pointsize=6), cells)
    for axes, panel in facets.draw():
        here = cells[cells["panel"] == panel]
        if here["floor"].notna().any():
            axes.axvline(here["floor"].mean(), color=GREY, **FLOOR)
        told = here[here["text"] != ""]
        for text, x, y in zip(told["text"], told["mean"], told["at"], strict=True):
            side = "left" if x < 0.1 else "right" if x > 0.9 else "center"
            place: dict[str, Any] = {"textcoords": "offset points", "xytext": (0, 5), "ha": side}
            axes.annotate(text, (x, y), fontsize=points(0.8), **place)
        axes.set_yticks(range(len(names)), list(map(in_words, names)))
        axes.set(xlim=(-0.03, 1.06), ylim=(len(names) - 0.5, -0.6))
    picture = facets.picture
    lines = len(names) * max(1.0, len(looks) / 2 if shared else 1.0)
    high = ceil(len(facets.names) / facets.columns)
    picture.set_figheight(0.6 + (0.6 + 0.32 * lines) * high)
    picture.set_figwidth(picture.get_figwidth() + 0.07 * max(map(len, names)))
    shown = entries(looks, linestyle="") if shared else []
    floor = [FLOOR_ENTRY] if cells["floor"].notna().any() else []
    return finish(picture, title, [*shown, *floor], caption)
