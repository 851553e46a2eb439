"""What figures share: panels drawn by seaborn, axes with ticks that have room, legend, caption."""

from collections.abc import Iterable, Sequence
from math import ceil, log
from typing import TYPE_CHECKING, Any, Literal

from experiments.analysis.drawing.style import FLOOR, GREY, LINES, Looks, points
from experiments.analysis.drawing.words import in_words
from experiments.text import number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture
    from seaborn._core.moves import Move
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


class Facets:
    """A picture to which marks of `seaborn.objects` are added: a facet for each `panel` of `data`.

    Every layer has rows of its own and takes the variables of the whole from its columns of the
    same names, unless it says otherwise. No state of pyplot is touched.

    Args:
        data: what is drawn; its mean `floor` is a dashed line.
        labels: of the x and the y axis.
        looks: of the values of the variable `color`.
        variants: values of the variable `linestyle`, or `fill`: a second distinction.
        rows: names on the y axis, downwards, where it has names.
        titles: panel -> what stands above it; None: its name in words.
        variables: name -> column, as `seaborn.objects.Plot` takes them.
    """

    def __init__(
        self,
        data: "pd.DataFrame",
        labels: tuple[str, str],
        looks: Looks,
        *,
        variants: Sequence[str] = (),
        rows: Sequence[str] = (),
        columns: int = 3,
        titles: dict[str, str] | None = None,
        **variables: str,
    ) -> None:
        import matplotlib
        from matplotlib.figure import Figure
        from seaborn.objects import Nominal, Plot

        self.data, self.looks, self.variants, self.variables = data, looks, variants, variables
        self.names = names_of(data)
        wide = min(columns, len(self.names))
        self.high = ceil(len(self.names) / wide)
        size = (WIDTH * wide + 0.5, HEIGHT * self.high)
        self.picture = Figure(figsize=size, layout="constrained")
        colours = {value: colour for value, (colour, _) in looks.items()}
        nothing: Any = []  # every layer says which panel its rows belong to
        scales: dict[str, Any] = {
            "color": Nominal(colours, order=list(looks)),
            "fillcolor": {**colours, "": "white"},
            "marker": {value: marker for value, (_, marker) in looks.items()},
            "linestyle": {name: LINES[i % len(LINES)] for i, name in enumerate(variants)},
            "fill": {name: i % 2 == 0 for i, name in enumerate(variants)},
            "alpha": {False: 0.35, True: 0.9},
            "pointsize": {False: 3.5, True: 4.5},
            **dict.fromkeys(("halign", "offset")),  # as they are
            **({"y": Nominal(order=list(rows))} if rows else {}),
        }
        above: Any = in_words if titles is None else titles.get
        self._plot = (
            Plot()
            .facet(col=nothing, order=self.names, wrap=columns)
            .scale(**scales)
            .label(x=labels[0], y=labels[1], title=above)
            .theme({k: v for k, v in matplotlib.rcParams.items() if k != "backend"})
            .on(self.picture)
        )

    def add(
        self,
        mark: "Mark",
        rows: "pd.DataFrame",
        *moves: "Move",
        orient: str | None = None,
        **variables: str | None,
    ) -> None:
        """Adds a mark for `rows`; none where there are none. A variable that is None is unused."""
        if not len(rows):
            return
        used = {**self.variables, "col": "panel", **variables}
        mapped: dict[str, Any] = {k: v for k, v in used.items() if v is not None}
        layer: dict[str, Any] = {"orient": orient, "legend": False}
        layer["data"] = rows.reset_index(drop=True)
        self._plot = self._plot.add(mark, *moves, **layer, **mapped)

    def add_seeds(self, rows: "pd.DataFrame", *moves: "Move", **variables: str | None) -> None:
        """A faint point for each seed, a stronger one where seeds are `apart`, without a mean."""
        from seaborn.objects import Dot

        rows = rows.assign(apart=rows.get("apart", False))
        look: dict[str, str | None] = {"marker": None, "alpha": "apart", "pointsize": "apart"}
        self.add(Dot(marker="o", edgewidth=0), rows, *moves, **look, **variables)

    def draw(
        self, floor: Literal["axhline", "axvline"] | None = "axhline"
    ) -> list[tuple["Axes", "pd.DataFrame"]]:
        """Draws the marks and the mean floor of every panel; the axes of each with its rows."""
        import warnings

        with warnings.catch_warnings():
            # of seaborn 0.13 with pandas 3
            warnings.filterwarnings("ignore", "The copy keyword is deprecated")
            self._plot.plot()
        rows = [self.data[self.data["panel"] == name] for name in self.names]
        panels = list(zip(self.picture.axes, rows, strict=True))
        for axes, here in panels:
            if floor and here["floor"].notna().any():
                getattr(axes, floor)(here["floor"].mean(), color=GREY, **FLOOR)
        return panels

    def finish(
        self,
        title: str | None,
        caption: Sequence[str],
        *more: Entry,
        named: bool = True,
        **look: Any,
    ) -> "Picture":
        """Adds what is around the panels: a legend of looks, variants, the floor and `more`.

        Args:
            named: whether the looks are told; there is nothing to tell of one alone.
            look: of their lines in the legend.
        """
        shown: list[Entry] = []
        if named and len(self.looks) > 1:
            for value, (colour, marker) in self.looks.items():
                own = {"color": colour, "marker": marker, "markersize": 5, **look}
                shown.append((in_words(str(value)), own))
        if len(self.variants) > 1:
            for i, name in enumerate(self.variants):
                own = {"color": GREY, "marker": "o", "markersize": 5, **look}
                own["linestyle"] = look.get("linestyle", LINES[i % len(LINES)])
                face = {"markerfacecolor": "white" if i % 2 else GREY}
                shown.append((in_words(name), {**own, **face}))
        if self.data["floor"].notna().any():
            shown.append(FLOOR_ENTRY)
        return finish(self.picture, title, [*shown, *more], caption)


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
    below = {"fontsize": points(0.85), "color": GREY, "x": 0.01, "ha": "left", "wrap": True}
    picture.supxlabel(" ".join(filter(None, caption)), **below)
    return picture


def apart(values: Iterable[float]) -> bool:
    """Whether accuracies of seeds fall into two groups, so that no seed is near their mean."""
    low, high = widest_gap(values)
    return high - low > APART


def widest_gap(values: Iterable[float]) -> tuple[float, float]:
    """The ends of the widest stretch between two neighbours; of one value alone no stretch."""
    ascending = sorted(values)
    pairs = zip(ascending, ascending[1:] or ascending, strict=False)
    return max(pairs, key=lambda pair: pair[1] - pair[0])


def seeds_caption(
    seeds: Iterable[int],
    marks: str = "Points and lines",
    bars: str = "bars",
    *,
    of_items: bool = False,
) -> str:
    """Says what is drawn of so many seeds, and owns up to a single one.

    Args:
        of_items: that one has an interval over its questions.
    """
    counts = set(seeds)
    if counts == {1}:
        told = "One seed: a demonstration, not a result."
        return f"{told} Bars: 95 % interval over questions." if of_items else told
    return f"{marks}: mean of {seeds_text(counts)}; {bars}: 95 % interval; faint: each seed."


def seeds_text(counts: Iterable[int]) -> str:
    """`1 seed`, `5 seeds`, `1–5 seeds`."""
    ascending = sorted(counts)
    ends = dict.fromkeys((ascending[0], ascending[-1]))
    return f"{'–'.join(map(str, ends))} seed{'s' if ascending[-1] > 1 else ''}"


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
