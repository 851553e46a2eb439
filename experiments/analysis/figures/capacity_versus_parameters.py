"""Bits stored against parameters, with the lines of 2, 1 and ½ bits and all there is to store."""

from typing import TYPE_CHECKING, Any, Literal

from experiments.analysis.drawing.panels import names_of, numbers_axis
from experiments.analysis.drawing.style import GREY, points
from experiments.analysis.drawing.versus import Against, Versus
from experiments.analysis.figures.figure import OfBits, Picture, Results, Rows
from experiments.results import selection

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: bits per parameter
LEVELS = (2.0, 1.0, 0.5)
CAPTION = "Grey lines: bits per parameter. Dotted bars: every bit there is to store."


class CapacityVersusParameters(OfBits, Versus):
    """One panel per grid and task, colours by arm; both axes logarithmic (2404.05405, figure 1).

    A grey bar over a point is R_max: every bit of its world. An arm near its bar has nothing
    left to store, so that its distance from a line says little.
    """

    kind: Literal["capacity_versus_parameters"] = "capacity_versus_parameters"
    against = Against(
        "bits stored",
        "parameters",
        "parameters",
        numbers_axis,
        ceiling=False,
        aside=False,
        caption=CAPTION,
    )

    def data(self, results: Results) -> Rows:
        rows = self.bits(results, "bits")
        told = selection.series(rows, [*selection.PLACE, "arm", "parameters", "item"], [])
        told = self.with_items(told, rows)
        panel = selection.panels_of(rows.assign(part=""))
        rows = rows.assign(panel=panel, hue=rows["arm"], series=told)
        return rows.sort_values(["panel", "n_loops", "parameters"], kind="stable")

    def plot(self, data: Rows) -> Picture:
        picture = super().plot(data.assign(floor=float("nan")))
        for axes, name in zip(picture.axes, names_of(data), strict=True):
            rows = data[data["panel"] == name]
            _levels(axes, rows)
            axes.set_yscale("log")  # once its limits are known, which values below 0 are not within
            if below := int((rows["value"] <= 0).sum()):
                told = f"{below} of {len(rows)} values at or below 0"
                look = {"color": GREY, "fontsize": points(0.85), "ha": "right"}
                axes.text(0.98, 0.03, told, transform=axes.transAxes, **look)
        return picture


def _levels(axes: "Axes", rows: Rows) -> None:
    """Lines of equal bits per parameter, and R_max at every size."""
    ends: Any = axes.get_xlim()
    for level in LEVELS:
        axes.plot(ends, [level * end for end in ends], color=GREY, linewidth=0.9, zorder=1)
        place = {"textcoords": "offset points", "xytext": (3, 0), "va": "center", "color": GREY}
        axes.annotate(f"{level:g}", (ends[1], level * ends[1]), fontsize=points(0.85), **place)
    for size, ceiling in rows[["parameters", "ceiling"]].drop_duplicates().itertuples(index=False):
        axes.hlines(ceiling, size / 1.12, size * 1.12, color=GREY, linestyle=":", linewidth=1.4)
    lowest = min([*rows["value"][rows["value"] > 0], ends[0] * LEVELS[-1]])
    highest = max(rows["ceiling"].max(), LEVELS[0] * ends[1])
    axes.set(xlim=ends, ylim=(lowest / 1.5, highest * 1.5))
