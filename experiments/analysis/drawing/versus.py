"""Values against a number: seeds and their means by seaborn, with floors and ceilings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from experiments.analysis.drawing.panels import (
    FLOOR_ENTRY,
    Facets,
    apart,
    entries,
    faint,
    finish,
    floors,
    line_entries,
    loops_axis,
    names_of,
    seeds_caption,
    seeds_text,
    share_axis,
    widest_gap,
)
from experiments.analysis.drawing.style import FLOOR, GREY, LINES, Looks, looks_of, points
from experiments.analysis.drawing.words import in_words
from experiments.analysis.figures.figure import Figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

#: share of its place on the x axis by which a series may at most be moved aside
ASIDE = 0.08
#: what makes a point
KEYS = ["panel", "hue", "series", "at", "over"]
APART_CAPTION = "k/n: seeds that reach .95, where they fall into two groups and a mean misleads."


@dataclass(frozen=True)
class Against:
    """What `value` is drawn against, and how.

    Attributes:
        x: column.
        label, y: of the two axes.
        axis: shapes the x axis, given the values on it.
        bounded: accuracies, from 0 to 1. Seeds of which some solve their questions and others do
            not are shown one by one, without a mean. Other quantities show their ceiling, dotted.
        aside: series are moved sideways so that they do not hide each other, which is for an axis
            of counts: where x is a quantity, a point must stand at its number.
        caption: further sentences below.
    """

    x: str
    label: str
    axis: "Callable[[Axes, Iterable[float]], None]"
    y: str
    bounded: bool = False
    ceiling: bool = True
    aside: bool = True
    caption: tuple[str, ...] = ()


LOOPS: dict[str, Any] = {"x": "n_loops", "label": "loops", "axis": loops_axis}


class Versus(Figure):
    """`value` against a number: a panel per `panel`, colours by `hue`, lines by `series`.

    Floors are dashed.
    """

    against: ClassVar[Against]

    def plot(self, data: "pd.DataFrame") -> "Picture":
        return plot_versus(data, self.against, self.title)


def plot_versus(data: "pd.DataFrame", of: Against, title: str | None) -> "Picture":
    """The picture of a `Versus`."""
    from seaborn.objects import Path, Range

    looks = looks_of(data, "hue")
    seeds = data.groupby(["panel", "hue", "series", of.x])["run_id"].nunique()
    data = _places(data, of.x, ASIDE if of.aside else 0.0)
    cells = _cells(data, of.bounded)
    variants = list(dict.fromkeys(data["series"]))
    names = names_of(data)
    place = {"x": "at", "y": "mean", "color": "hue", "marker": "hue"}
    facets = Facets(names, (of.label, of.y), looks, titles=_titles(names, seeds), **place)
    points_of = data[[*KEYS, "value"]].merge(cells[cells["n"] > 1], on=KEYS)
    for alone in (False, True):
        facets.add(faint(alone), points_of[points_of["apart"] == alone], y="value", marker=None)
    ends = {"y": None, "marker": None, "ymin": "low", "ymax": "high"}
    facets.add(Range(linewidth=1.2), cells[cells["low"].notna()], **ends)
    for i, name in enumerate(variants):
        face: dict[str, Any] = {"fillcolor": "white"} if i % 2 else {}  # hollow
        mark = Path(linestyle=LINES[i % len(LINES)], linewidth=1.4, pointsize=5, **face)
        facets.add(mark, cells[cells["series"] == name])
    for axes, name in facets.draw():
        rows = data[data["panel"] == name]
        _floors(axes, rows, of.x, looks)
        if of.bounded:
            share_axis(axes)
            _tell_solved(axes, cells[cells["panel"] == name], looks)
        elif of.ceiling:
            _ceiling(axes, rows, of.x, looks)
        of.axis(axes, data[of.x])
    levels = [FLOOR_ENTRY] if data["floor"].notna().any() else []
    if of.ceiling and not of.bounded:
        levels.append(("everything stored", {"color": GREY, "linestyle": ":"}))
    told = [seeds_caption(seeds), *([APART_CAPTION] if cells["apart"].any() else []), *of.caption]
    return finish(facets.picture, title, [*entries(looks), *line_entries(variants), *levels], told)


def _places(data: "pd.DataFrame", x: str, aside: float) -> "pd.DataFrame":
    """With `at`: the place on the x axis, moved sideways by a share of it for each series."""
    order = {name: list(dict.fromkeys(rows)) for name, rows in _series(data).groupby(data["panel"])}
    shifts = []
    for panel, name in zip(data["panel"], _series(data), strict=True):
        among = order[panel]
        step = min(0.03, 2 * aside / max(1, len(among) - 1))
        shifts.append(step * (among.index(name) - (len(among) - 1) / 2))
    return data.assign(
        over=data[x].astype(float),
        at=[float(v) * (1 + s) for v, s in zip(data[x], shifts, strict=True)],
    )


def _series(data: "pd.DataFrame") -> "pd.Series":
    import pandas as pd

    return pd.Series(list(zip(data["hue"], data["series"], strict=True)), index=data.index)


def _cells(data: "pd.DataFrame", bounded: bool) -> "pd.DataFrame":
    """A row per point: mean and interval over seeds; none where accuracies lie `apart`."""
    from experiments.results.selection import over_seeds

    found = over_seeds(data.drop_duplicates([*KEYS, "run_id", "item"]), KEYS)
    lies = data.groupby(KEYS)["value"].agg(lambda seeds: bounded and apart(seeds)).astype(bool)
    middle = data.groupby(KEYS)["value"].agg(lambda seeds: sum(widest_gap(seeds)) / 2)
    found = found.merge(lies.rename("apart"), on=KEYS).merge(middle.rename("middle"), on=KEYS)
    found = found.sort_values("at", kind="stable")
    found.loc[found["apart"], ["mean", "low", "high"]] = float("nan")
    return found


def _titles(names: list[str], seeds: "pd.Series") -> dict[str, str]:
    """Names of panels in words, with their seeds where panels differ in them."""
    told = {name: seeds_text(counts) for name, counts in seeds.groupby(level="panel")}
    if len(set(told.values())) == 1:
        return {name: in_words(name) for name in names}
    return {name: f"{in_words(name)}\n{told[name]}" for name in names}


def _tell_solved(axes: "Axes", cells: "pd.DataFrame", looks: Looks) -> None:
    """How many seeds are solved, in a column between the two groups of those that lie apart."""
    above: dict[float, int] = {}
    for cell in cells[cells["apart"]].to_dict("records"):
        line = above[cell["over"]] = above.get(cell["over"], -1) + 1
        axes.annotate(
            f"{round(cell['solved'] * cell['n'])}/{cell['n']}",
            (cell["at"], cell["middle"]),
            fontsize=points(0.85),
            color=looks[cell["hue"]][0],
            textcoords="offset points",
            xytext=(0, -10 * line),
            ha="center",
        )


def _floors(axes: "Axes", rows: "pd.DataFrame", x: str, looks: Looks) -> None:
    if rows.groupby("hue")["floor"].nunique().max() > 1 and x != "n_loops":
        floor = rows.groupby(x)["floor"].mean()
        axes.plot(floor.index.tolist(), floor.tolist(), color=GREY, **FLOOR)
        return
    floors(axes, rows.groupby("hue", sort=False)["floor"].mean().to_dict(), looks)


def _ceiling(axes: "Axes", rows: "pd.DataFrame", x: str, looks: Looks) -> None:
    """The largest possible values, each in the colour that it is of; grey: of several."""
    if rows.groupby("hue")["ceiling"].nunique().max() > 1 and x != "n_loops":
        ceiling = rows.groupby(x)["ceiling"].mean()
        axes.plot(ceiling.index.tolist(), ceiling.tolist(), color=GREY, linestyle=":", linewidth=1)
        return
    most = rows.groupby(["hue", "n_loops"], sort=False)["ceiling"].mean().round(2).dropna()
    for value, of in most.groupby(most):
        hues = of.index.get_level_values("hue").unique()
        alone = len(hues) == 1 and rows["hue"].nunique() > 1
        colour = looks[hues[0]][0] if alone else GREY
        axes.axhline(value, color=colour, linestyle=":", linewidth=1.0)
