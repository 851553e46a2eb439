"""What growing costs and gives back: training loss, with the moment of growth looked at closely."""

from typing import TYPE_CHECKING, Any, Literal

from experiments.analysis.drawing.panels import Facets
from experiments.analysis.drawing.style import GREY, Looks, arm_looks, points
from experiments.analysis.figures.figure import Figure, Need, Picture, Results, Rows
from experiments.results import selection

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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

    def data(self, results: Results) -> Rows:
        self.select(results.curves, metric=MOMENT)
        rows = self.select(results.curves, metric=["loss", MOMENT])
        told = selection.series(rows, [*selection.PLACE, "arm", "step"], [])
        return rows.assign(panel=selection.joined(selection.panels_of(rows, tasks=False), told))

    def plot(self, data: Rows) -> Picture:
        from seaborn.objects import Dot, Line

        key = ["panel", "run_id", "metric", "item", "step"]
        rows = data.astype({"step": float}).drop_duplicates(key)
        labels, looks = ("training step", "training loss (nats per token)"), arm_looks(data)
        drawn = Facets(rows, labels, looks, x="step", y="value", color="arm")
        drawn.add(Line(linewidth=1.0, alpha=0.85), rows[rows["metric"] == "loss"], group="run_id")
        moments = rows[rows["metric"] == MOMENT]
        drawn.add(Dot(marker="o", pointsize=6, fill=False), moments[moments["item"] == "before"])
        drawn.add(Dot(marker="o", pointsize=6), moments[moments["item"] == "after"])
        for axes, here in drawn.draw():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            _tell_moments(axes, here[here["metric"] == MOMENT], looks)
        circle: dict[str, Any] = {"color": GREY, "linestyle": "", "marker": "o"}
        before = ("right before growing", {**circle, "markerfacecolor": "white"})
        told = ["Numbers: means over the seeds that grew."]
        return drawn.finish(self.title, told, before, ("right after", circle), marker="")


def _tell_moments(axes: "Axes", moments: Rows, looks: Looks) -> None:
    """A line where a run grew; the loss before and after it stands at the top, above all curves."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.15)
    for (arm, step), at in moments.groupby(["arm", "step"], sort=False):
        look: dict[str, Any] = {"color": looks[arm][0]}
        axes.axvline(step, linewidth=0.7, linestyle=":", zorder=1, **look)
        means = at.groupby("item")["value"].mean()
        told = f"{means['before']:.3g} → {means['after']:.3g}"
        place: Any = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        look |= {"fontsize": points(0.9), "va": "top"}
        axes.annotate(told, (step, 1.0), xytext=(4, -2), **place, **look)
