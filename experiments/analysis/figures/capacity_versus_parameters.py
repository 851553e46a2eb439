"""Bits stored against parameters, with the lines of 2, 1 and ½ bits and all there is to store."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from experiments.analysis.drawing import panels, style
from experiments.analysis.drawing.versus import Against, Versus
from experiments.analysis.figures.figure import CAPACITY, Need, measured
from experiments.results import selection

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Results

#: bits per parameter
LEVELS = (2.0, 1.0, 0.5)


class CapacityVersusParameters(Versus):
    """One panel per grid and task, colours by arm; both axes logarithmic (2404.05405, figure 1).

    A grey bar over a point is R_max: every bit of its world. An arm near its bar has nothing
    left to store, so that its distance from a line says little.
    """

    kind: Literal["capacity_versus_parameters"] = "capacity_versus_parameters"
    against: ClassVar[Against] = Against(
        "parameters",
        "parameters",
        panels.numbers_axis,
        y="bits stored",
        ceiling=False,
        aside=False,
        caption=("Grey lines: bits per parameter. Dotted bars: every bit there is to store.",),
    )
    item: str = Field("total", description="which bits: total, name, values or one attribute")

    def needs(self) -> tuple[Need, ...]:
        return (measured(*CAPACITY, part=self.part),)

    def data(self, results: "Results") -> "pd.DataFrame":
        rows = self.select(selection.last_loop(results.runs), metric="bits", item=self.item)
        told = selection.series(rows, [*selection.PLACE, "arm", "parameters"], [])
        rows = rows.assign(
            panel=selection.panels_of(rows.assign(part="")), hue=rows["arm"], series=told
        )
        return rows.sort_values(["panel", "n_loops", "parameters"], kind="stable")

    def plot(self, data: "pd.DataFrame") -> "Picture":
        picture = super().plot(data.assign(floor=float("nan")))
        for axes, name in zip(picture.axes, panels.names_of(data), strict=True):
            rows = data[data["panel"] == name]
            _levels(axes, rows)
            axes.set_yscale("log")  # once its limits are known, which values below 0 are not within
            if below := int((rows["value"] <= 0).sum()):
                told = f"{below} of {len(rows)} values at or below 0"
                look = {"color": style.GREY, "fontsize": style.points(0.85), "ha": "right"}
                axes.text(0.98, 0.03, told, transform=axes.transAxes, **look)
        return picture


def _levels(axes: "Axes", rows: "pd.DataFrame") -> None:
    """Lines of equal bits per parameter, and R_max at every size."""

    ends: Any = axes.get_xlim()
    for level in LEVELS:
        axes.plot(ends, [level * end for end in ends], color=style.GREY, linewidth=0.9, zorder=1)
        place = {"textcoords": "offset points", "ha": "left", "va": "center", "color": style.GREY}
        at = (ends[1], level * ends[1])
        axes.annotate(f"{level:g}", at, xytext=(3, 0), fontsize=style.points(0.85), **place)
    for size, ceiling in rows[["parameters", "ceiling"]].drop_duplicates().itertuples(index=False):
        axes.hlines(
            ceiling, size / 1.12, size * 1.12, color=style.GREY, linestyle=":", linewidth=1.4
        )
    axes.set_xlim(*ends)
    values = rows["value"][rows["value"] > 0]
    lowest = min(values.min() if len(values) else ends[0] * LEVELS[-1], ends[0] * LEVELS[-1])
    axes.set_ylim(lowest / 1.5, max(rows["ceiling"].max(), LEVELS[0] * ends[1]) * 1.5)
