"""Shares from 0 to 1 as points in rows, a row for each name: an interval about each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.analysis.drawing.panels import Facets
from experiments.analysis.drawing.style import arm_looks, points
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
    from seaborn.objects import Dodge, Dot, Range, Text

    looks = arm_looks(cells)
    cells, seeds = (rows.assign(name=rows["name"].map(in_words)) for rows in (cells, seeds))
    names = list(dict.fromkeys(cells["name"]))
    arms = int(cells.groupby(["panel", "name"])["arm"].nunique().max())
    aside: dict[str, Any] = {"orient": "y"}
    step = Dodge(by=["color"], empty="fill")  # arms of one row
    columns = columns if 1 < columns < 5 else 4
    variables = {"x": "mean", "y": "name", "color": "arm", "marker": "arm"}
    facets = Facets(cells, (label, ""), looks, rows=names, columns=columns, **variables)
    facets.add_seeds(seeds, step, x="value", **aside)
    facets.add(Range(linewidth=1.2), cells, step, x=None, xmin="low", xmax="high", **aside)
    facets.add(Dot(pointsize=6), cells, step, **aside)
    side = cells["mean"].map(lambda x: "left" if x < 0.1 else "right" if x > 0.9 else "center")
    told = Text(color="black", fontsize=points(0.8), valign="bottom", offset=5)
    facets.add(told, cells.assign(side=side), step, text="text", halign="side", **aside)
    for axes, _ in facets.draw("axvline"):
        axes.yaxis.grid(True)
        axes.set_xlim(-0.03, 1.06)
    picture = facets.picture
    picture.set_figheight(0.6 + (0.6 + 0.32 * len(names) * max(1.0, arms / 2)) * facets.high)
    picture.set_figwidth(picture.get_figwidth() + 0.07 * max(map(len, names)))
    return facets.finish(title, caption, linestyle="", named=arms > 1)
