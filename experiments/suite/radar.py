"""The radar of a card: normalised axes, the model over its references."""

from collections.abc import Sequence
from math import pi, sin
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.analysis.drawing.style import COLOURS, GREY, LINES, style
from experiments.suite.card import Card

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

#: fewer axes make no polygon
FEWEST = 3


def radar_data(card: Card) -> pd.DataFrame:
    """A row for each architecture and axis that the model has: 0 at the floor, 1 at the ceiling."""
    rows = []
    for column in card.columns:
        for name, axis in card.axes.items():
            if card.columns[0].scores[name].value is None:
                continue
            value = column.scores[name].normalised
            rows.append({"architecture": column.label, "axis": axis.title, "normalised": value})
    return pd.DataFrame(rows, columns=["architecture", "axis", "normalised"])


def radar(data: pd.DataFrame, numbered: Sequence[str] | None = None) -> "Picture":
    """A polygon for each architecture; where it has no value on an axis its line has a gap.

    Args:
        numbered: every axis that there can be, in order. The picture is a small one then, to be
            seen beside others: it has these axes, with their numbers in place of names, and no
            legend.

    Raises:
        ValueError: fewer than three axes.
    """
    from matplotlib.figure import Figure

    small = numbered is not None
    names = list(dict.fromkeys(data["axis"])) if numbered is None else list(numbered)
    if len(names) < FEWEST:
        raise ValueError(f"a radar needs {FEWEST} axes or more, got {len(names)}")
    angles = [2 * pi * i / len(names) for i in range(len(names))]
    with style():
        picture = Figure(figsize=(1.75, 1.75) if small else (4.8, 4.8), layout="constrained")
        axes: Any = picture.add_subplot(projection="polar")  # which the stubs do not know
        axes.set_theta_offset(pi / 2)
        axes.set_theta_direction(-1)
        for i, (label, rows) in enumerate(data.groupby("architecture", sort=False)):
            values = rows.set_index("axis")["normalised"].reindex(names).tolist()
            look = {**_look(i, str(label)), "markersize": 3 if small else 6}
            axes.plot([*angles, angles[0]], [*values, values[0]], marker=".", clip_on=False, **look)
            if i == 0:
                axes.fill([*angles, angles[0]], [*values, values[0]], alpha=0.12, color=COLOURS[0])
        axes.set_ylim(0, 1)
        axes.set_yticks([0.25, 0.5, 0.75, 1.0], 4 * [""] if small else ["", ".5", "", "1"])
        axes.tick_params(axis="y", labelcolor=GREY)
        axes.set_xticks(angles, range(1, len(names) + 1) if small else names)
        for text, angle in zip(axes.get_xticklabels(), angles, strict=True):
            side = round(sin(angle), 6)
            text.set_horizontalalignment("center" if side == 0 else "left" if side > 0 else "right")
        axes.spines["polar"].set_visible(False)
        if small:
            axes.tick_params(axis="x", pad=-3)
        else:
            picture.legend(loc="outside lower center", ncols=2)
        picture.draw_without_rendering()  # lays it out, so that its names have their room
    return picture


def _look(i: int, label: str) -> dict[str, Any]:
    """How the i-th architecture is drawn; the model comes first."""
    look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "label": label}
    return {**look, "linewidth": 2.0 if i == 0 else 1.1, "linestyle": LINES[i % len(LINES)]}


def legend(labels: Sequence[str]) -> "Picture":
    """The lines of architectures with their labels, for radars that have no legend."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with style():
        picture = Figure(figsize=(4.8, 0.3))
        lines = [Line2D([], [], marker=".", **_look(i, label)) for i, label in enumerate(labels)]
        picture.legend(handles=lines, loc="center", ncols=len(lines), frameon=False)
    return picture
