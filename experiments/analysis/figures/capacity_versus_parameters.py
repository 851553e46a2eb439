"""Bits stored against parameters, with the lines of 2, 1 and ½ bits and all there is to store."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.analysis.figures.figure import CAPACITY, Figure, Need, measured
from experiments.results.selection import series

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Results

#: bits per parameter
LEVELS = (2.0, 1.0, 0.5)


class CapacityVersusParameters(Figure):
    """One panel per task, colours by loops; both axes logarithmic, as in 2404.05405, figure 1.

    A grey bar over a point is R_max: every bit of its world. An arm near its bar has nothing
    left to store, so that its distance from a line says little.
    """

    kind: Literal["capacity_versus_parameters"] = "capacity_versus_parameters"
    item: str = Field("total", description="which bits: total, name, values or one attribute")

    def needs(self) -> tuple[Need, ...]:
        return (measured(*CAPACITY, part=self.part),)

    def data(self, results: "Results") -> "pd.DataFrame":
        from experiments.results.selection import last_loop

        rows = self.select(last_loop(results.runs), metric="bits", item=self.item)
        loops = [f"{n} loop{'s' if n > 1 else ''}" for n in rows["n_loops"]]
        told = series(rows, ["part", "task", "n_loops", "parameters"], ["k"])
        rows = rows.assign(panel=rows["task"], hue=loops, series=told)
        return rows.sort_values(["panel", "n_loops", "parameters"], kind="stable")

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from experiments.analysis.drawing import versus
        from experiments.analysis.drawing.style import numbers_axis

        # sizes of the same number of loops are points of one line only where all else is equal
        picture = versus.plot_versus(
            data.assign(floor=float("nan")),
            "parameters",
            ("parameters", "bits stored"),
            numbers_axis,
            title=self.title,
            ceiling=False,
            aside=False,
        )
        for axes, name in zip(picture.axes, dict.fromkeys(data["panel"]), strict=True):
            rows = data[data["panel"] == name]
            axes.set_yscale("log")
            _levels(axes, rows)
        return picture


def _levels(axes: "Axes", rows: "pd.DataFrame") -> None:
    """Lines of equal bits per parameter, and R_max at every size."""
    from experiments.analysis.drawing.style import GREY

    ends: Any = axes.get_xlim()
    for level in LEVELS:
        axes.plot(ends, [level * end for end in ends], color=GREY, linewidth=0.9, zorder=1)
        text = f"{level:g} bit{'s' if level > 1 else ''}/parameter"
        place = {"textcoords": "offset points", "ha": "right", "va": "bottom"}
        at = (ends[1], level * ends[1])
        axes.annotate(text, at, xytext=(-2, 2), fontsize=7, color=GREY, **place)
    for size, ceiling in rows[["parameters", "ceiling"]].drop_duplicates().itertuples(index=False):
        axes.hlines(ceiling, size / 1.12, size * 1.12, color=GREY, linestyle=":", linewidth=1.4)
    axes.set_xlim(*ends)
    values = rows["value"][rows["value"] > 0]
    lowest = min(values.min() if len(values) else ends[0] * LEVELS[-1], ends[0] * LEVELS[-1])
    axes.set_ylim(lowest / 1.5, max(rows["ceiling"].max(), LEVELS[0] * ends[1]) * 1.5)
