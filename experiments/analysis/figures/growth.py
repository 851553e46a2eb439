"""What growing costs and gives back: training loss, with the moment of growth looked at closely."""

from typing import TYPE_CHECKING, Any, Literal

from experiments.analysis.figures.figure import Figure, Need
from experiments.results.selection import series

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
        from experiments.results.selection import joined

        curves = results.curves
        self.select(curves, metric=MOMENT)
        rows = self.select(curves, metric=["loss", MOMENT])
        told = series(rows, ["part", "arm", "step"], [])
        return rows.assign(panel=joined(rows["part"], told))

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from experiments.analysis.drawing.style import GREY, legend, look, panels

        looks = look(data["arm"])
        names = list(dict.fromkeys(data["panel"]))
        picture, grid = panels(names, "step", "training loss (nats per token)")
        for axes, name in zip(grid, names, strict=True):
            rows = data[data["panel"] == name]
            for arm, of_arm in rows.groupby("arm", sort=False):
                _plot_arm(axes, of_arm, looks[str(arm)][0])
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
        if self.title:
            picture.suptitle(self.title, fontsize=10.5)
        moments: dict[str, dict[str, Any]] = {
            "right before growing": {"marker": "o", "markerfacecolor": "white"},
            "right after": {"marker": "o"},
        }
        arms = [(arm, {"color": colour}) for arm, (colour, _) in looks.items()]
        circles = [(text, {"color": GREY, "linestyle": "", **m}) for text, m in moments.items()]
        legend(picture, [*arms, *circles])
        return picture


def _plot_arm(axes: "Axes", rows: "pd.DataFrame", colour: str) -> None:
    """Every seed's curve and its circles; the numbers are means over seeds."""
    rows = rows.drop_duplicates(["run_id", "metric", "item", "step"])
    for _, curve in rows[rows["metric"] == "loss"].groupby("run_id"):
        curve = curve.sort_values("step")
        axes.plot(curve["step"], curve["value"], color=colour, linewidth=1.0, alpha=0.85)
    look: dict[str, Any] = {"color": colour, "marker": "o", "markersize": 6, "zorder": 4}
    found = rows[rows["metric"] == MOMENT].pivot(
        index=["run_id", "step"], columns="item", values="value"
    )
    for step, at in found.groupby("step"):
        x = float(str(step))
        axes.axvline(x, color=colour, linewidth=0.7, linestyle=":", zorder=1)
        for before, after in zip(at["before"].tolist(), at["after"].tolist(), strict=True):
            axes.vlines(x, before, after, color=colour, linewidth=1.6, zorder=3)
            axes.plot([x], [before], **look, markerfacecolor="white")
            axes.plot([x], [after], **look, markeredgecolor="white")
        mean, top = at.mean(), float(at.to_numpy().max())
        text = f"{mean['before']:.3g} → {mean['after']:.3g}"
        place = {"textcoords": "offset points", "xytext": (7, 0), "fontsize": 8, "va": "center"}
        axes.annotate(text, (x, top), color=colour, **place)
