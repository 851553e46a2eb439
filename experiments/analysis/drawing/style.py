"""How every figure looks: readable in print, without colour vision, and in a README.

matplotlib is imported inside the functions, so that planning a grid does not pay for it.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.runs.json_files import replacing
from probes.statistics import Summary, summarise_seeds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

T = TypeVar("T", int, float)

#: Okabe & Ito, told apart by the colour-blind, darkest first; the marker changes along with it
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
#: a second distinction; long dashes are kept for floors
LINES = ("-", "-.", ":", (0, (1, 1)))
FLOOR = {"linestyle": (0, (6, 3)), "linewidth": 1.0, "zorder": 1}
GREY = "#777777"

RC = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "axes.titlesize": 9.5,
    "svg.hashsalt": "loopscope",  # the same figure gives the same file
    "svg.fonttype": "none",
}


@contextmanager
def style() -> Iterator[None]:
    """The look of the figures and a backend without a screen, for the time of a `with`."""
    import matplotlib

    with matplotlib.rc_context({**RC, "backend": "Agg"}):
        yield


def panels(
    titles: Sequence[str], x: str, y: str, *, columns: int = 3
) -> tuple["Picture", list["Axes"]]:
    """A picture with one axes per title, at most `columns` in a row, on one y axis called `y`."""
    from matplotlib.figure import Figure

    wide = min(columns, len(titles))
    high = ceil(len(titles) / wide)
    picture = Figure(figsize=(3.0 * wide + 0.5, 2.9 * high), layout="constrained")
    grid = picture.subplots(high, wide, squeeze=False, sharey=True).ravel().tolist()
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title(title)
        axes.set_xlabel(x)
    for axes in grid[::wide]:
        axes.set_ylabel(y)
    for axes in grid[len(titles) :]:
        axes.remove()
    return picture, grid[: len(titles)]


def look(values: Iterable[Hashable]) -> dict[Any, tuple[str, str]]:
    """value -> (colour, marker), in order of appearance."""
    unique = list(dict.fromkeys(values))
    n = len(COLOURS)
    return {v: (COLOURS[i % n], MARKERS[i % n]) for i, v in enumerate(unique)}


def seeds_and_mean(
    axes: "Axes",
    rows: "pd.DataFrame",
    x: str,
    *,
    colour: str,
    marker: str,
    line: Any = "-",
    shift: float = 0.0,
    filled: bool = True,
) -> None:
    """Every seed as a faint point; their mean as a line, with its interval where there is one.

    `shift` moves the points sideways by a share of their place, so that series do not hide
    each other.
    """
    from experiments.results.selection import summary_of

    rows_at: dict[Any, pd.DataFrame] = dict(list(rows.groupby(x)))
    groups = [(float(at) * (1 + shift), cell) for at, cell in rows_at.items()]
    summaries = [(at, summary_of(cell)) for at, cell in groups]
    for at, cell in groups:
        if len(cell) > 1:
            points = [at] * len(cell), cell["value"]
            axes.scatter(*points, s=14, color=colour, alpha=0.35, linewidths=0)
    for at, summary in summaries:
        if summary.low is not None and summary.high is not None:
            axes.vlines(at, summary.low, summary.high, colors=colour, linewidth=1.2)
    axes.plot(
        [at for at, _ in summaries],
        [summary.mean for _, summary in summaries],
        color=colour,
        marker=marker,
        markersize=5,
        markerfacecolor=colour if filled else "white",
        linestyle=line,
        linewidth=1.4,
        zorder=3,
    )


def interval_of_shares(values: Iterable[float]) -> tuple[float, float]:
    """seaborn's `errorbar` of shares: 95 % over seeds, of no width for a single one."""
    found = summarise_seeds(list(values), (0.0, 1.0), bimodal=True)
    if found.low is None or found.high is None:
        return found.mean, found.mean
    return found.low, found.high


def bars(summary: Summary) -> list[list[float]] | None:
    """matplotlib's `xerr` or `yerr`: below and above the mean; None where nothing is known."""
    if summary.low is None or summary.high is None:
        return None
    return [[summary.mean - summary.low], [summary.high - summary.mean]]


def floors(axes: "Axes", by_series: dict[Any, float], looks: dict[Any, tuple[str, str]]) -> None:
    """A dashed line per floor in its series' colour; one grey line where all are the same."""
    known = {name: value for name, value in by_series.items() if value == value}
    if known and max(known.values()) - min(known.values()) < 1e-3:
        axes.axhline(next(iter(known.values())), color=GREY, **FLOOR)
        return
    for name, value in known.items():
        axes.axhline(value, color=looks[name][0], **FLOOR)


def loops_axis(axes: "Axes", values: Iterable[float]) -> None:
    """Powers of two at equal distances, a tick for every loop count that has room for its label."""
    counts = sorted({int(v) for v in values})
    ticks = _apart(counts, 1.2)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(counts[0] / 1.25, counts[-1] * 1.25)


def _apart(values: "list[T]", factor: float) -> "list[T]":
    """Those of ascending values that are so many times the last one taken."""
    taken = values[:1]
    for value in values[1:]:
        if value >= factor * taken[-1]:
            taken.append(value)
    return taken


def numbers_axis(axes: "Axes", values: Iterable[float]) -> None:
    """Logarithmic, a tick for every number drawn that has room for its label."""
    from experiments.text import number

    ticks = _apart(sorted(set(map(float, values))), 1.3)
    axes.set_xscale("log")
    axes.set_xticks(ticks, [number(t) for t in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(ticks[0] / 1.25, max(map(float, values)) * 1.25)


def counting_axis(axes: "Axes", values: Iterable[float]) -> None:
    """1, 2, 3 …, a tick for each."""
    ticks = sorted({int(v) for v in values})
    axes.set_xticks(ticks)
    axes.set_xlim(ticks[0] - 0.4, ticks[-1] + 0.4)


def legend(picture: "Picture", entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """(text, line properties) beside the panels, in room added for it."""
    from matplotlib.lines import Line2D

    if entries:
        handles = [Line2D([], [], label=text, **look) for text, look in entries]
        picture.legend(handles=handles, loc="outside right upper")
        longest = max(len(text) for text, _ in entries)
        picture.set_figwidth(picture.get_figwidth() + 0.6 + 0.065 * longest)


def seeds_note(
    picture: "Picture",
    seeds: Iterable[int],
    one: str = "one seed: a demonstration",
    shown: str = "; faint: every seed",
    more: str = "",
) -> None:
    """Says under the panels what points and bars are, owns up to a single seed, and says `more`."""
    counts = set(seeds)
    text = one if counts == {1} else f"mean of {seeds_text(counts)} with 95 % interval{shown}"
    if more:
        text += "\n" + fill(more, int(17 * picture.get_figwidth()))
    picture.supxlabel(text, fontsize=7.5, color=GREY, x=0.01, ha="left")


def seeds_text(counts: Iterable[int]) -> str:
    """`1 seed`, `5 seeds`, `1–5 seeds`."""
    ascending = sorted(counts)
    ends = dict.fromkeys((ascending[0], ascending[-1]))
    return f"{'–'.join(map(str, ends))} seed{'s' if ascending[-1] > 1 else ''}"


def save(picture: "Picture", data: "pd.DataFrame", stem: Path) -> list[Path]:
    """Writes stem.png, stem.svg and stem.csv, each as a whole."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg", "csv")]
    for path in paths:
        with replacing(path, durable=False) as file:
            if path.suffix == ".csv":
                data.to_csv(file, index=False)
            else:
                when = {"Date": None} if path.suffix == ".svg" else None
                picture.savefig(file, format=path.suffix[1:], dpi=200, metadata=when)
    return paths
