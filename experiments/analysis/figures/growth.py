"""What growing costs and gives back: training loss, with the moment of growth looked at closely."""

from typing import TYPE_CHECKING, Any, Literal

from experiments.analysis.drawing import panels, style
from experiments.analysis.figures.figure import Figure, Need
from experiments.results import selection

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Results

MOMENT = "growth_loss"


class Growth(Figure):
    """Training loss of every run, colours by arm; circles: right before and after it grew.

    Both are losses on the same batch, so that their distance is what growing itself does. A
    panel holds runs that differ in arm and seed alone.
    """

    kind: Literal["growth"] = "growth"

    def needs(self) -> tuple[Need, ...]:
        told = "grows; set `growth` (and `core` before it) in training.phases"
        return (Need(told, lambda c: any(p.growth for p in c.training.phases), self.part),)

    def data(self, results: "Results") -> "pd.DataFrame":
        curves = results.curves
        self.select(curves, metric=MOMENT)
        rows = self.select(curves, metric=["loss", MOMENT])
        told = selection.series(rows, [*selection.PLACE, "arm", "step"], [])
        return rows.assign(panel=selection.joined(selection.panels_of(rows, tasks=False), told))

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from seaborn.objects import Dot, Line

        looks = style.arm_looks(data)
        rows = data.astype({"step": float}).drop_duplicates(
            ["panel", "run_id", "metric", "item", "step"]
        )
        labels = ("training step", "training loss (nats per token)")
        moments = rows[rows["metric"] == MOMENT]
        drawn = panels.Facets(
            panels.names_of(rows), labels, looks, x="step", y="value", color="arm"
        )
        drawn.add(Line(linewidth=1.0, alpha=0.85), rows[rows["metric"] == "loss"], group="run_id")
        for item, full in (("before", False), ("after", True)):
            mark = Dot(marker="o", pointsize=6, fill=full)
            drawn.add(mark, moments[moments["item"] == item])
        for axes, name in drawn.draw():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            _tell_moments(axes, moments[moments["panel"] == name], looks)
        circle: dict[str, Any] = {"color": style.GREY, "linestyle": "", "marker": "o"}
        circles = [
            ("right before growing", {**circle, "markerfacecolor": "white"}),
            ("right after", circle),
        ]
        shown = [*panels.entries(looks, marker=""), *circles]
        return panels.finish(
            drawn.picture, self.title, shown, ["Numbers: means over the seeds that grew."]
        )


def _tell_moments(axes: "Axes", moments: "pd.DataFrame", looks: style.Looks) -> None:
    """A line where a run grew; the loss before and after it stands at the top, above all curves."""

    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.15)
    for (arm, step), at in moments.groupby(["arm", "step"], sort=False):
        colour = looks[arm][0]
        axes.axvline(step, color=colour, linewidth=0.7, linestyle=":", zorder=1)
        means = at.groupby("item")["value"].mean()
        axes.annotate(
            f"{means['before']:.3g} → {means['after']:.3g}",
            (step, 1.0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            xytext=(4, -2),
            fontsize=style.points(0.9),
            color=colour,
            va="top",
        )
