"""A metric over training by arm, and the step at which it emerges."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.analysis.drawing.panels import Entry, Facets, share_axis
from experiments.analysis.drawing.style import GREY, arm_looks
from experiments.analysis.figures.figure import Figure, Need, Picture, Results, Rows
from experiments.config.chosen_probes import measures
from experiments.results import selection

if TYPE_CHECKING:
    from experiments.config.run import RunConfig

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
        told = f"measures {self.metric} during training; set observe.evaluate_every"
        return (Need(told, self._evaluated, self.part),)

    def _evaluated(self, config: "RunConfig") -> bool:
        if self.metric != "accuracy":
            return config.observe.evaluate_every is not None
        asked = self.model_dump(include={"split", "difficulty"})
        return measures(config, self.metric, in_training=True, **asked)

    def data(self, results: Results) -> Rows:
        import pandas as pd

        from experiments.results.long_table import emergence_step

        rows = self.select(
            selection.last_loop(results.curves),
            "" if self.metric == "loss" else "; set observe.evaluate_every to have more",
            **self.model_dump(include={"metric", "item", "split", "difficulty"}),
        )
        hard = [selection.difficulties_of(rows)] if rows["difficulty"].notna().any() else []
        panel = selection.joined(selection.panels_of(rows), *hard)
        told = selection.series(rows, [*selection.PLACE, "arm", "step"], [])
        rows = rows.assign(panel=panel, series=selection.joined(rows["arm"], told), variant=told)
        if (level := self.level) is None:
            return rows.assign(emerged=None)
        key = ["panel", "series", "run_id"]
        curves = rows.groupby(key, sort=False)
        steps = [(*at, emergence_step(curve, level)) for at, curve in curves]
        return rows.merge(pd.DataFrame(steps, columns=[*key, "emerged"]), on=key)

    def plot(self, data: Rows) -> Picture:
        from seaborn.objects import Dot, Line

        rows = data.drop_duplicates(["panel", "run_id", "step"]).astype({"step": float})
        drawn = Facets(
            rows,
            ("training step", _label(self.metric, self.split)),
            arm_looks(data),
            variants=list(dict.fromkeys(data["variant"])),
            columns=min(3, data["difficulty"].nunique() or 3),
            **{"x": "step", "y": "value", "color": "arm"},
        )
        drawn.add(Line(linewidth=1.1), rows, group="run_id", linestyle="variant")
        rings = rows[rows["step"] == rows["emerged"].astype(float)]
        drawn.add(Dot(marker="o", pointsize=7, fill=False, edgewidth=1.1), rings)
        for axes, _ in drawn.draw():
            if self.metric == "accuracy":
                share_axis(axes)
        ring: dict[str, Any] = {"marker": "o", "markersize": 7, "markerfacecolor": "none"}
        ring |= {"linestyle": "", "color": GREY}
        more: list[Entry] = [(f"reaches {self.level:g}", ring)] if len(rings) else []
        return drawn.finish(self.title, ["One line for each seed."], *more, marker="")


def _label(metric: str, split: str) -> str:
    if metric == "loss":
        return "training loss (nats per token)"
    name = metric.replace("_", " ")
    return f"held-out {name}" if split == "test" else name
