"""A metric over training by arm, and the step at which it emerges."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.analysis.figures.figure import Figure, Need
from experiments.config.chosen_probes import measures
from experiments.results.selection import series

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

    from experiments.config.run import RunConfig
    from experiments.results.long_table import Results

#: what every run logs, whether or not it is evaluated during training; some of it with a gate
LOGGED = ("loss", "mean_exit", "exit_entropy", "exit_probability", "loop_loss", "growth_loss")


class LearningCurves(Figure):
    """One panel per part and difficulty, a line per run, a ring where it first reaches `level`.

    Skills of composition appear in one jump: final scores alone hide when.
    """

    kind: Literal["learning_curves"] = "learning_curves"
    metric: str = Field("accuracy", description="metric drawn over training")
    split: str = Field("test", description="split of the questions")
    item: str = Field("", description="item of the metric; empty: rows without one")
    difficulty: int | tuple[int, ...] | None = Field(None, description="None: all")
    level: float | None = Field(0.9, description="that counts as emerged; None: no rings")

    def needs(self) -> tuple[Need, ...]:
        if self.metric in LOGGED:
            return ()

        def evaluated(config: "RunConfig") -> bool:
            if self.metric != "accuracy":
                return config.observe.evaluate_every is not None
            return measures(
                config,
                self.metric,
                in_training=True,
                split=self.split,
                difficulty=self.difficulty,
            )

        told = f"measures {self.metric} during training; set observe.evaluate_every"
        return (Need(told, evaluated, self.part),)

    def data(self, results: "Results") -> "pd.DataFrame":
        import pandas as pd

        from experiments.results.long_table import emergence_step
        from experiments.results.selection import difficulties_of, joined, last_loop, panels_of

        rows = self.select(
            last_loop(results.curves),
            "" if self.metric == "loss" else "; set observe.evaluate_every to have more",
            metric=self.metric,
            item=self.item,
            split=self.split,
            difficulty=self.difficulty,
        )
        hard = [difficulties_of(rows)] if rows["difficulty"].notna().any() else []
        panel = joined(panels_of(rows), *hard)
        told = series(rows, ["part", "component", "arm", "step"], [])
        rows = rows.assign(panel=panel, series=joined(rows["arm"], told))
        if self.level is None:
            return rows.assign(emerged=None)
        level = self.level
        curves = rows.groupby(["panel", "series", "run_id"], sort=False)
        steps = [
            {"panel": p, "series": s, "run_id": r, "emerged": emergence_step(curve, level)}
            for (p, s, r), curve in curves
        ]
        return rows.merge(pd.DataFrame(steps), on=["panel", "series", "run_id"])

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from experiments.analysis.drawing.style import FLOOR, GREY, legend, look, panels

        looks = look(data["series"])
        names = list(dict.fromkeys(data["panel"]))
        picture, grid = panels(
            names, "step", _label(self.metric), columns=min(3, data["difficulty"].nunique() or 3)
        )
        for axes, name in zip(grid, names, strict=True):
            rows = data[data["panel"] == name]
            for (text, _), curve in rows.groupby(["series", "run_id"], sort=False):
                _plot_curve(axes, curve.drop_duplicates("step"), *looks[text])
            if rows["floor"].notna().any():
                axes.axhline(rows["floor"].mean(), color=GREY, **FLOOR)
            if self.metric == "accuracy":
                axes.set_ylim(-0.03, 1.05)
        if self.title:
            picture.suptitle(self.title, fontsize=10.5)
        legend(picture, self._entries(data, looks))
        return picture

    def _entries(
        self, data: "pd.DataFrame", looks: dict[Any, tuple[str, str]]
    ) -> list[tuple[str, dict[str, Any]]]:
        from experiments.analysis.drawing.style import FLOOR, GREY

        entries: list[tuple[str, dict[str, Any]]] = [
            (text, {"color": colour, "marker": marker, "markersize": 3})
            for text, (colour, marker) in looks.items()
        ]
        if data["floor"].notna().any():
            entries.append(("floor", {"color": GREY, **FLOOR}))
        if data["emerged"].notna().any():
            ring = {"marker": "o", "markersize": 7, "markerfacecolor": "none", "linestyle": ""}
            entries.append((f"reaches {self.level:g}", {"color": GREY, **ring}))
        return entries


def _plot_curve(axes: "Axes", curve: "pd.DataFrame", colour: str, marker: str) -> None:
    curve = curve.sort_values("step")
    every = max(1, len(curve) // 12)
    axes.plot(
        curve["step"],
        curve["value"],
        color=colour,
        marker=marker,
        markersize=3,
        markevery=every,
        linewidth=1.1,
    )
    emerged = curve["emerged"].iloc[0]
    if emerged == emerged and emerged is not None:
        at = curve[curve["step"] == emerged]
        axes.scatter(at["step"], at["value"], s=60, facecolor="none", edgecolor=colour)


def _label(metric: str) -> str:
    return "training loss (nats per token)" if metric == "loss" else metric.replace("_", " ")
