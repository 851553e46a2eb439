"""Accuracy at fewer and more loops than trained; a thin line stands where training stopped."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from experiments.analysis.drawing import panels, style
from experiments.analysis.drawing.versus import Against, Versus
from experiments.analysis.figures.figure import Need, measured
from experiments.results import selection

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Results


class Extrapolation(Versus):
    """One panel per part and difficulty, colours by arm.

    Rows come from the probe `extrapolation`. Left of its line an arm is under-looped, right of it
    over-looped.
    """

    kind: Literal["extrapolation"] = "extrapolation"
    against: ClassVar[Against] = Against(
        "loop",
        "loops run",
        panels.loops_axis,
        y="held-out accuracy",
        bounded=True,
        caption=("Upright lines: the loops that each arm was trained with.",),
    )
    difficulty: int | tuple[int, ...] | None = Field(None, description="None: all")

    def needs(self) -> tuple[Need, ...]:
        return (measured("extrapolation", difficulty=self.difficulty, part=self.part),)

    def data(self, results: "Results") -> "pd.DataFrame":
        rows = self.select(
            results.runs, metric="loops_accuracy", difficulty=self.difficulty
        ).sort_values(["difficulty", "n_loops"], kind="stable")
        panel = selection.joined(selection.panels_of(rows), selection.difficulties_of(rows))
        told = selection.series_over_loops(rows, [*selection.PLACE, "difficulty"], ["arm", "loop"])
        return rows.assign(panel=panel, hue=rows["arm"], series=told)

    def plot(self, data: "pd.DataFrame") -> "Picture":
        looks = style.arm_looks(data)
        picture = super().plot(data)
        trained = data[["panel", "hue", "n_loops"]].drop_duplicates()
        for axes, name in zip(picture.axes, panels.names_of(data), strict=True):
            here = trained[trained["panel"] == name]
            for arm, loops in zip(here["hue"], here["n_loops"], strict=True):
                axes.axvline(loops, color=looks[arm][0], linewidth=0.7, zorder=1)
        return picture
