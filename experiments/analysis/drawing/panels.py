"""What figures share: panels drawn by seaborn, axes with ticks that have room, legend, caption."""

from collections.abc import Iterable, Sequence
from math import ceil, log
from typing import TYPE_CHECKING, Any

from experiments.analysis.drawing.style import FLOOR, GREY, LINES, Looks, points
from experiments.analysis.drawing.words import in_words
from experiments.text import number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture
    from seaborn._marks.base import Mark

#: (text, properties of a line)
Entry = tuple[str, dict[str, Any]]
#: a stretch of accuracies without a seed that parts the seeds into two groups
APART = 0.3
#: inches
WIDTH, HEIGHT = 3.0, 2.9


def names_of(data: "pd.DataFrame") -> list[str]:
    """The panels in order of appearance."""
    return list(dict.fromkeys(data["panel"].dropna()))


def blank(
    names: Sequence[str], *, columns: int = 3, size: tuple[float, float] = (WIDTH, HEIGHT)
) -> tuple["Picture", list["Axes"]]:
    """A picture with one axes per name, at most `columns` in a row, on common axes."""
    from matplotlib.figure import Figure

    wide = min(columns, len(names))
    high = ceil(len(names) / wide)
    picture = Figure(figsize=(size[0] * wide + 0.5, size[1] * high), layout="constrained")
    grid = picture.subplots(high, wide, squeeze=False, sharex=True, sharey=True).ravel().tolist()
    for axes, name in zip(grid, names, strict=False):
        axes.set_title(in_words(name))
    for axes in grid[len(names) :]:
        axes.remove()
    return picture, grid[: len(names)]


class Facets:
    """A picture to which marks of `seaborn.objects` are added: a facet for each `panel`.

    Every layer has rows of its own and takes the variables of the whole from its columns of the
    same names, unless it says otherwise. No state of pyplot is touched.

    Args:
        names: of the panels, in order.
        labels: of the x and the y axis.
        looks: of the values of the variable `color`.
        titles: panel -> what stands above it; None: its name in words.
        variables: name -> column, as `seaborn.objects.Plot` takes them.
    """

    def __init__(
        self,
        names: Sequence[str],
        labels: tuple[str, str],
        looks: Looks,
        *,
        columns: int = 3,
        titles: dict[str, str] | None = None,
        **variables: str,
    ) -> None:
        import matplotlib
        from matplotlib.figure import Figure
        from seaborn.objects import Plot

        self.names, self.columns, self.variables = names, columns, variables
        wide = min(columns, len(names))
        size = (WIDTH * wide + 0.5, HEIGHT * ceil(len(names) / wide))
        self.picture = Figure(figsize=size, layout="constrained")
        self._titles = titles or {name: in_words(name) for name in names}
        scales: dict[str, Any] = {
            "color": {value: colour for value, (colour, _) in looks.items()},
            "marker": {value: marker for value, (_, marker) in looks.items()},
        }
        nothing: Any = []  # every layer says which panel its rows belong to
        self._plot = (
            Plot()
            .facet(col=nothing, order=list(names), wrap=columns)
            .scale(**scales)
            .label(x=labels[0], y=labels[1])
            .theme({k: v for k, v in matplotlib.rcParams.items() if k != "backend"})
            .on(self.picture)
        )

    def add(
        self,
        mark: "Mark",
        rows: "pd.DataFrame",
        *,
        orient: str | None = None,
        **variables: str | None,
    ) -> None:
        """Adds a mark for `rows`; none where there are none. A variable that is None is unused."""
        if not len(rows):
            return
        used = {**self.variables, "col": "panel", **variables}
        mapped: dict[str, Any] = {k: v for k, v in used.items() if v is not None}
        data = rows.reset_index(drop=True)
        layer: dict[str, Any] = {"orient": orient, "legend": False, "data": data}
        self._plot = self._plot.add(mark, **layer, **mapped)

    def draw(self) -> list[tuple["Axes", str]]:
        """Draws the marks; the axes of every panel with its name."""
        import warnings

        with warnings.catch_warnings():
            # of seaborn 0.13 with pandas 3
            warnings.filterwarnings("ignore", "The copy keyword is deprecated")
            self._plot.plot()
        for axes, name in zip(self.picture.axes, self.names, strict=True):
            axes.set_title(self._titles.get(name, name))
        return list(zip(self.picture.axes, self.names, strict=True))


def entries(looks: Looks, **properties: Any) -> list[Entry]:
    """What a legend says of the looks; nothing where there is one alone."""
    style = {"markersize": 5, **properties}
    return [
        (in_words(str(value)), {"color": colour, "marker": marker, **style})
        for value, (colour, marker) in looks.items()
        if len(looks) > 1
    ]


def line_entries(names: Sequence[str]) -> list[Entry]:
    """What a legend says of line styles; nothing where there is one alone."""
    return [
        (
            in_words(name),
            {
                "color": GREY,
                "linestyle": LINES[i % len(LINES)],
                "marker": "o",
                "markersize": 5,
                "markerfacecolor": "white" if i % 2 else GREY,
            },
        )
        for i, name in enumerate(names)
        if len(names) > 1
    ]


#: what legends call the dashed line of a floor
FLOOR_ENTRY: Entry = ("floor", {"color": GREY, **FLOOR})


def finish(
    picture: "Picture", title: str | None, shown: Sequence[Entry], caption: Sequence[str]
) -> "Picture":
    """Sets the title, a legend beside the panels in room added for it, and sentences below."""
    from matplotlib.lines import Line2D

    if title:
        picture.suptitle(title, fontsize=points(1.15))
    if shown:
        handles = [Line2D([], [], label=text, **look) for text, look in shown]
        picture.legend(handles=handles, loc="outside right upper")
        longest = max(len(text) for text, _ in shown)
        picture.set_figwidth(picture.get_figwidth() + 0.6 + 0.065 * longest)
    if caption:
        below = {"fontsize": points(0.85), "color": GREY, "x": 0.01, "ha": "left", "wrap": True}
        picture.supxlabel(" ".join(caption), **below)
    return picture


def faint(alone: bool = False) -> "Mark":
    """The mark of single seeds, which is stronger where they stand `alone`, without a mean."""
    from seaborn.objects import Dot

    if alone:
        return Dot(alpha=0.9, pointsize=4.5, marker="o", edgewidth=0)
    return Dot(alpha=0.35, pointsize=3.5, marker="o", edgewidth=0)


def apart(values: Iterable[float]) -> bool:
    """Whether accuracies of seeds fall into two groups, so that no seed is near their mean."""
    low, high = widest_gap(values)
    return high - low > APART


def widest_gap(values: Iterable[float]) -> tuple[float, float]:
    """The ends of the widest stretch between two neighbours; of one value alone no stretch."""
    ascending = sorted(values)
    pairs = zip(ascending, ascending[1:] or ascending, strict=False)
    return max(pairs, key=lambda pair: pair[1] - pair[0])


def seeds_caption(seeds: Iterable[int], marks: str = "Points and lines", bars: str = "bars") -> str:
    """Says what is drawn of so many seeds, and owns up to a single one."""
    counts = set(seeds)
    if counts == {1}:
        return "One seed: a demonstration, not a result."
    return f"{marks}: mean of {seeds_text(counts)}; {bars}: 95 % interval; faint: each seed."


def seeds_text(counts: Iterable[int]) -> str:
    """`1 seed`, `5 seeds`, `1–5 seeds`."""
    ascending = sorted(counts)
    ends = dict.fromkeys((ascending[0], ascending[-1]))
    return f"{'–'.join(map(str, ends))} seed{'s' if ascending[-1] > 1 else ''}"


def floors(axes: "Axes", by_series: dict[Any, float], looks: Looks) -> None:
    """A dashed line per floor in its series' colour; one grey line where all are the same."""
    known = {name: value for name, value in by_series.items() if value == value}
    if known and max(known.values()) - min(known.values()) < 1e-3:
        axes.axhline(next(iter(known.values())), color=GREY, **FLOOR)
        return
    for name, value in known.items():
        axes.axhline(value, color=looks[name][0], **FLOOR)


def share_axis(axes: "Axes") -> None:
    """From 0 to 1, with room for points at both ends."""
    axes.set_ylim(-0.03, 1.05)


def loops_axis(axes: "Axes", values: Iterable[float]) -> None:
    """Powers of two at equal distances, a tick for every loop count that has room for its label."""
    _log_axis(axes, sorted({int(v) for v in values}), base=2)


def numbers_axis(axes: "Axes", values: Iterable[float]) -> None:
    """Logarithmic, a tick for every number drawn that has room for its label."""
    _log_axis(axes, sorted(set(map(float, values))), base=10)


def _log_axis(axes: "Axes", values: Sequence[float], base: int) -> None:
    low, high = values[0] / 1.25, values[-1] * 1.25
    # of the narrowest panel that is drawn, in letters
    letters = 72 * 0.75 * WIDTH / (0.62 * points(1.0))
    taken: list[tuple[float, str]] = []
    for value in values:
        text = number(value)
        room = (len(text) + (len(taken[-1][1]) if taken else 0)) / 2 + 0.8
        if not taken or log(value / taken[-1][0]) / log(high / low) * letters >= room:
            taken.append((value, text))
    axes.set_xscale("log", base=base)
    axes.set_xticks([value for value, _ in taken], [text for _, text in taken])
    axes.set_xticks([], minor=True)
    axes.set_xlim(low, high)


def counting_axis(axes: "Axes", values: Iterable[float]) -> None:
    """1, 2, 3 …, a tick for each."""
    ticks = sorted({int(v) for v in values})
    axes.set_xticks(ticks)
    axes.set_xlim(ticks[0] - 0.4, ticks[-1] + 0.4)
