"""What figures of a value against a number share: panels, seeds, means, floors and ceilings."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from experiments.analysis.drawing.style import (
    FLOOR,
    GREY,
    LINES,
    floors,
    legend,
    look,
    loops_axis,
    panels,
    seeds_and_mean,
    seeds_note,
    seeds_text,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture


#: share of its place on the x axis by which a series may at most be moved aside
ASIDE = 0.08


def plot_versus_loops(
    data: "pd.DataFrame", label: str, *, title: str | None, bounded: bool = False
) -> "Picture":
    """`value` against `n_loops`; see `plot_versus`."""
    return plot_versus(data, "n_loops", ("loops", label), loops_axis, title=title, bounded=bounded)


def plot_versus(
    data: "pd.DataFrame",
    x: str,
    labels: tuple[str, str],
    axis: "Callable[[Axes, Iterable[float]], None]",
    *,
    title: str | None,
    bounded: bool = False,
    ceiling: bool = True,
    aside: bool = True,
) -> "Picture":
    """`value` against column `x`: a panel per `panel`, colours by `hue`, lines by `series`.

    Floors are dashed. Accuracies (`bounded`) run from 0 to 1; other quantities show their
    ceiling, dotted.

    Args:
        axis: shapes the x axis, given the values on it.
        aside: series are moved sideways so that they do not hide each other, which is for an axis
            of counts: where x is a quantity, a point must stand at its number.
    """
    looks, lines = look(data["hue"]), _lines(data["series"])
    names = list(dict.fromkeys(data["panel"]))
    seeds = data.groupby(["panel", "hue", "series", x])["run_id"].nunique()
    picture, grid = panels(_titles(names, seeds), *labels)
    for axes, name in zip(grid, names, strict=True):
        rows = data[data["panel"] == name]
        _plot_panel(axes, rows, x, looks, lines, ASIDE if aside else 0.0)
        if bounded:
            axes.set_ylim(-0.03, 1.05)
        elif ceiling:
            _ceiling(axes, rows, looks)
        axis(axes, data[x])
    if title:
        picture.suptitle(title, fontsize=10.5)
    legend(
        picture,
        _entries(looks, lines, floor=bool(data["floor"].notna().any()), ceiling=not bounded),
    )
    seeds_note(picture, seeds)
    return picture


def _titles(names: list[str], seeds: "pd.Series") -> list[str]:
    """Names of panels, with their seeds where panels differ in them."""
    told = {name: seeds_text(counts) for name, counts in seeds.groupby(level="panel")}
    if len(set(told.values())) == 1:
        return names
    return [f"{name}\n{told[name]}" for name in names]


def _lines(series: "pd.Series") -> dict[Any, tuple[Any, bool]]:
    """series -> (line style, filled marker)."""
    unique = list(dict.fromkeys(series))
    return {name: (LINES[i % len(LINES)], i % 2 == 0) for i, name in enumerate(unique)}


def _plot_panel(
    axes: "Axes",
    rows: "pd.DataFrame",
    x: str,
    looks: dict[Any, tuple[str, str]],
    lines: dict[Any, tuple[Any, bool]],
    aside: float,
) -> None:
    groups = list(rows.groupby(["hue", "series"], sort=False))
    step = min(0.03, 2 * aside / max(1, len(groups) - 1))
    for i, ((hue, series), group) in enumerate(groups):
        colour, marker = looks[hue]
        line, filled = lines[series]
        shift = step * (i - (len(groups) - 1) / 2)
        seeds_and_mean(
            axes,
            group.drop_duplicates(["run_id", "item", x]),
            x,
            colour=colour,
            marker=marker,
            line=line,
            filled=filled,
            shift=shift,
        )
    if rows.groupby("hue")["floor"].nunique().max() > 1 and x != "n_loops":
        floor = rows.groupby(x)["floor"].mean()
        axes.plot(floor.index.tolist(), floor.tolist(), color=GREY, **FLOOR)
        return
    floors(axes, rows.groupby("hue", sort=False)["floor"].mean().to_dict(), looks)


def _ceiling(axes: "Axes", rows: "pd.DataFrame", looks: dict[Any, tuple[str, str]]) -> None:
    """The largest possible values, each in the colour that it is of; grey: of several."""
    most = rows.groupby(["hue", "n_loops"], sort=False)["ceiling"].mean().round(2).dropna()
    for value, of in most.groupby(most):
        hues = of.index.get_level_values("hue").unique()
        alone = len(hues) == 1 and rows["hue"].nunique() > 1
        colour = looks[hues[0]][0] if alone else GREY
        axes.axhline(value, color=colour, linestyle=":", linewidth=1.0)


def _entries(
    looks: dict[Any, tuple[str, str]],
    lines: dict[Any, tuple[Any, bool]],
    *,
    floor: bool,
    ceiling: bool,
) -> list[tuple[str, dict[str, Any]]]:
    colours: list[tuple[str, dict[str, Any]]] = [
        (name, {"color": colour, "marker": marker, "markersize": 5})
        for name, (colour, marker) in looks.items()
        if len(looks) > 1
    ]
    styles: list[tuple[str, dict[str, Any]]] = [
        (
            name,
            {
                "color": GREY,
                "linestyle": line,
                "marker": "o",
                "markersize": 5,
                "markerfacecolor": GREY if filled else "white",
            },
        )
        for name, (line, filled) in lines.items()
        if len(lines) > 1
    ]
    levels: list[tuple[str, dict[str, Any]]] = []
    if floor:
        levels.append(("floor", {"color": GREY, **FLOOR}))
    if ceiling:
        levels.append(("everything stored", {"color": GREY, "linestyle": ":"}))
    return [*colours, *styles, *levels]
