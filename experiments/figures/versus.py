"""What figures of a value against a number share: panels, seeds, means, floors and ceilings."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from experiments.figures.drawing import (
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
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture


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
) -> "Picture":
    """`value` against column `x`: a panel per `panel`, colours by `hue`, lines by `series`.

    Floors are dashed. Accuracies (`bounded`) run from 0 to 1; other quantities show their
    ceiling, dotted.

    Args:
        axis: shapes the x axis, given the values on it.
    """
    looks, lines = look(data["hue"]), _lines(data["series"])
    names = list(dict.fromkeys(data["panel"]))
    picture, grid = panels(names, *labels)
    for axes, name in zip(grid, names, strict=True):
        rows = data[data["panel"] == name]
        _plot_panel(axes, rows, x, looks, lines)
        if bounded:
            axes.set_ylim(-0.03, 1.05)
        elif ceiling:
            _ceiling(axes, rows)
        axis(axes, data[x])
    if title:
        picture.suptitle(title, fontsize=10.5)
    legend(
        picture,
        _entries(looks, lines, floor=bool(data["floor"].notna().any()), ceiling=not bounded),
    )
    seeds_note(picture, data.groupby(["panel", "hue", "series", x])["run_id"].nunique())
    return picture


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
) -> None:
    groups = list(rows.groupby(["hue", "series"], sort=False))
    for i, ((hue, series), group) in enumerate(groups):
        colour, marker = looks[hue]
        line, filled = lines[series]
        shift = 0.03 * (i - (len(groups) - 1) / 2)
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


def _ceiling(axes: "Axes", rows: "pd.DataFrame") -> None:
    """The largest possible value, which saturated arms reach together."""
    for value in sorted(set(rows.groupby(["hue", "n_loops"])["ceiling"].mean().round(2))):
        axes.axhline(value, color=GREY, linestyle=":", linewidth=1.0)


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
