"""A metric over training by arm, and the step at which it emerges."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.analysis.drawing import panels, style
from experiments.analysis.figures.figure import Figure, Need
from experiments.config.chosen_probes import measures
from experiments.results import selection

if TYPE_CHECKING:
    import pandas as pd
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

        rows = self.select(
            selection.last_loop(results.curves),
            "" if self.metric == "loss" else "; set observe.evaluate_every to have more",
            metric=self.metric,
            item=self.item,
            split=self.split,
            difficulty=self.difficulty,
        )
        hard = [selection.difficulties_of(rows)] if rows["difficulty"].notna().any() else []
        panel = selection.joined(selection.panels_of(rows), *hard)
        told = selection.series(rows, [*selection.PLACE, "arm", "step"], [])
        rows = rows.assign(panel=panel, series=selection.joined(rows["arm"], told), variant=told)
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
        from seaborn.objects import Dot, Line

        looks = style.arm_looks(data)
        variants = list(dict.fromkeys(data["variant"]))
        rows = data.drop_duplicates(["panel", "run_id", "step"]).astype({"step": float})
        drawn = panels.Facets(
            panels.names_of(rows),
            ("training step", _label(self.metric, self.split)),
            looks,
            columns=min(3, data["difficulty"].nunique() or 3),
            x="step",
            y="value",
            color="arm",
        )
        for i, name in enumerate(variants):
            mark = Line(linewidth=1.1, linestyle=style.LINES[i % len(style.LINES)])
            chosen = rows[rows["variant"] == name]
            drawn.add(mark, chosen, group="run_id")
        rings = rows[rows["step"] == rows["emerged"].astype(float)]
        drawn.add(Dot(marker="o", pointsize=7, fill=False, edgewidth=1.1), rings)
        for axes, name in drawn.draw():
            floor = rows[rows["panel"] == name]["floor"]
            if floor.notna().any():
                axes.axhline(floor.mean(), color=style.GREY, **style.FLOOR)
            if self.metric == "accuracy":
                panels.share_axis(axes)
        shown = [*panels.entries(looks, marker=""), *panels.line_entries(variants)]
        if data["floor"].notna().any():
            shown.append(panels.FLOOR_ENTRY)
        if len(rings):
            circle = {"marker": "o", "markersize": 7, "markerfacecolor": "none", "linestyle": ""}
            shown.append((f"reaches {self.level:g}", {"color": style.GREY, **circle}))
        return panels.finish(drawn.picture, self.title, shown, ["One line for each seed."])


def _label(metric: str, split: str) -> str:
    if metric == "loss":
        return "training loss (nats per token)"
    name = metric.replace("_", " ")
    return f"held-out {name}" if split == "test" else name
