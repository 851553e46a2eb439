"""Accuracy at fewer and more loops than trained; a thin line stands where training stopped."""

from typing import Literal

from experiments.analysis.drawing.panels import loops_axis, names_of
from experiments.analysis.drawing.style import arm_looks
from experiments.analysis.drawing.versus import Against, Versus
from experiments.analysis.figures.figure import ByDifficulty, Picture, Results, Rows
from experiments.results import selection


class Extrapolation(ByDifficulty, Versus):
    """One panel per part and difficulty, colours by arm.

    Rows come from the probe `extrapolation`. Left of its line an arm is under-looped, right of it
    over-looped.
    """

    kind: Literal["extrapolation"] = "extrapolation"
    probes = ("extrapolation",)
    against = Against(
        "held-out accuracy",
        "loop",
        "loops run",
        loops_axis,
        bounded=True,
        caption="Upright lines: the loops that each arm was trained with.",
    )

    def data(self, results: Results) -> Rows:
        rows = self.select(results.runs, metric="loops_accuracy", difficulty=self.difficulty)
        rows = rows.sort_values(["difficulty", "n_loops"], kind="stable")
        panel = selection.joined(selection.panels_of(rows), selection.difficulties_of(rows))
        told = selection.series_over_loops(rows, [*selection.PLACE, "difficulty"], ["arm", "loop"])
        return rows.assign(panel=panel, hue=rows["arm"], series=told)

    def plot(self, data: Rows) -> Picture:
        looks, picture = arm_looks(data), super().plot(data)
        axes = dict(zip(names_of(data), picture.axes, strict=True))
        trained = data[["panel", "hue", "n_loops"]].drop_duplicates()
        for panel, arm, loops in trained.itertuples(index=False):
            axes[panel].axvline(loops, color=looks[arm][0], linewidth=0.7, zorder=1)
        return picture
