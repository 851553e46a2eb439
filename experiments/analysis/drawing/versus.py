"""Values against a number: seeds and their means by seaborn, with floors and ceilings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from experiments.analysis.drawing.panels import (
    Entry,
    Facets,
    apart,
    loops_axis,
    seeds_caption,
    seeds_text,
    share_axis,
    widest_gap,
)
from experiments.analysis.drawing.style import FLOOR, GREY, Looks, looks_of, points
from experiments.analysis.drawing.words import in_words
from experiments.analysis.figures.figure import Figure, Picture, Rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: share of its place on the x axis by which a series may at most be moved aside
ASIDE = 0.08
#: what makes a point
KEYS = ["panel", "hue", "series", "at", "over"]
CEILING: dict[str, Any] = {"linestyle": ":", "linewidth": 1.0}
STORED: Entry = ("everything stored", {"color": GREY, "linestyle": ":"})
APART_CAPTION = "k/n: seeds that reach .95, where they fall into two groups and a mean misleads."


@dataclass(frozen=True)
class Against:
    """What `value` is drawn against, and how.

    Attributes:
        y, label: of the two axes.
        x: column.
        axis: shapes the x axis, given the values on it.
        bounded: accuracies, from 0 to 1. Seeds of which some solve their questions and others do
            not are shown one by one, without a mean. Other quantities show their ceiling, dotted.
        aside: series are moved sideways so that they do not hide each other, which is for an axis
            of counts: where x is a quantity, a point must stand at its number.
        caption: further sentences below.
    """

    y: str
    x: str = "n_loops"
    label: str = "loops"
    axis: "Callable[[Axes, Iterable[float]], None]" = loops_axis
    bounded: bool = False
    ceiling: bool = True
    aside: bool = True
    caption: str = ""


class Versus(Figure):
    """`value` against a number: a panel per `panel`, colours by `hue`, lines by `series`.

    Floors are dashed.
    """

    against: ClassVar[Against]

    def plot(self, data: Rows) -> Picture:
        from seaborn.objects import Path, Range, Text

        of, looks = self.against, looks_of(data, "hue")
        seeds = data.groupby(["panel", "hue", "series", of.x])["run_id"].nunique()
        data = _places(data, of.x, ASIDE if of.aside else 0.0)
        variants = list(dict.fromkeys(data["series"]))
        cells = _cells(data, of.bounded)
        hollow = cells["series"].map(variants.index) % 2 == 1
        cells = cells.assign(face=cells["hue"].mask(hollow, ""))
        facets = Facets(
            data,
            (of.label, of.y),
            looks,
            variants=variants,
            titles=_titles(seeds),
            **{"x": "at", "y": "mean", "color": "hue", "marker": "hue"},
        )
        several = cells[cells["n"] > 1]
        facets.add_seeds(data[[*KEYS, "value"]].merge(several, on=KEYS), y="value")
        ends = {"y": None, "marker": None, "ymin": "low", "ymax": "high"}
        facets.add(Range(linewidth=1.2), cells[cells["low"].notna()], **ends)
        lines = {"linestyle": "series", "fillcolor": "face"}
        facets.add(Path(linewidth=1.4, pointsize=5), cells, **lines)
        place = {"y": "middle", "marker": None, "offset": "down"}
        facets.add(Text(fontsize=points(0.85), valign="top"), _solved(cells), text="text", **place)
        for axes, rows in facets.draw(floor=None):
            _levels(axes, rows, "floor", ["hue"], of.x, looks, **FLOOR)
            if of.bounded:
                share_axis(axes)
            elif of.ceiling:
                _levels(axes, rows, "ceiling", ["hue", "n_loops"], of.x, looks, **CEILING)
            of.axis(axes, data[of.x])
        told = [seeds_caption(seeds), APART_CAPTION * bool(cells["apart"].any()), of.caption]
        more = [STORED] if of.ceiling and not of.bounded else []
        return facets.finish(self.title, told, *more)


def _places(data: Rows, x: str, aside: float) -> Rows:
    """With `at`: the place on the x axis, moved sideways by a share of it for each series."""
    names = (data["hue"] + "\n" + data["series"]).groupby(data["panel"])
    order = names.transform(lambda series: series.factorize()[0])
    last = order.groupby(data["panel"]).transform("max")
    step = (2 * aside / last.clip(lower=1)).clip(upper=0.03)
    over = data[x].astype(float)
    return data.assign(over=over, at=over * (1 + step * (order - last / 2)))


def _cells(data: Rows, bounded: bool) -> Rows:
    """A row per point: mean and interval over seeds; none where accuracies lie `apart`."""
    from experiments.results.selection import over_seeds

    found = over_seeds(data.drop_duplicates([*KEYS, "run_id", "item"]), KEYS)
    seeds = data.groupby(KEYS)["value"]
    lies = seeds.agg(lambda values: bounded and apart(values)).astype(bool).rename("apart")
    middle = seeds.agg(lambda values: sum(widest_gap(values)) / 2).rename("middle")
    found = found.merge(lies, on=KEYS).merge(middle, on=KEYS).sort_values("at", kind="stable")
    found.loc[found["apart"], ["mean", "low", "high"]] = float("nan")
    return found


def _titles(seeds: "pd.Series") -> dict[str, str]:
    """Names of panels in words, with their seeds where panels differ in them."""
    told = seeds.groupby(level="panel").agg(seeds_text)
    several = told.nunique() > 1
    return {str(name): in_words(str(name)) + f"\n{text}" * several for name, text in told.items()}


def _solved(cells: Rows) -> Rows:
    """Where seeds lie apart: how many are solved, to stand in a column between the two groups."""
    cells = cells[cells["apart"]]
    told = [f"{round(s * n)}/{n}" for s, n in zip(cells["solved"], cells["n"], strict=True)]
    return cells.assign(text=told, down=10 * cells.groupby(["panel", "over"]).cumcount())


def _levels(
    axes: "Axes", rows: Rows, column: str, by: list[str], x: str, looks: Looks, **look: Any
) -> None:
    """Floors or ceilings: each in the colour of the one hue that it is of, grey if of several."""
    if rows.groupby("hue")[column].nunique().max() > 1 and x != "n_loops":
        along = rows.groupby(x)[column].mean()
        axes.plot(along.index.tolist(), along.tolist(), color=GREY, **look)
        return
    known = rows.groupby(by, sort=False)[column].mean().dropna()
    for _, same in known.groupby(known.round(2)):
        hues = same.index.get_level_values("hue").unique()
        alone = len(hues) == 1 and rows["hue"].nunique() > 1
        axes.axhline(same.iloc[0], color=looks[hues[0]][0] if alone else GREY, **look)
