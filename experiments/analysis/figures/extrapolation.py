"""Accuracy at fewer and more loops than trained; a thin line stands where training stopped."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.analysis.figures.figure import Figure, Need, measured
from experiments.results.selection import series_over_loops

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Results


class Extrapolation(Figure):
    """One panel per part and difficulty, colours by the loops trained with.

    Rows come from the probe `extrapolation`. Left of its line an arm is under-looped, right of it
    over-looped.
    """

    kind: Literal["extrapolation"] = "extrapolation"
    difficulty: int | tuple[int, ...] | None = Field(None, description="None: all")

    def needs(self) -> tuple[Need, ...]:
        return (measured("extrapolation", difficulty=self.difficulty, part=self.part),)

    def data(self, results: "Results") -> "pd.DataFrame":
        from experiments.results.selection import difficulties_of, joined, panels_of

        rows = self.select(
            results.runs, metric="loops_accuracy", difficulty=self.difficulty
        ).sort_values(["difficulty", "n_loops"], kind="stable")
        panel = joined(panels_of(rows), difficulties_of(rows))
        trained = [f"{n} loop{'s' if n > 1 else ''} trained" for n in rows["n_loops"]]
        place = ["part", "task", "component", "difficulty"]
        told = series_over_loops(rows, place, ["n_loops", "loop"])
        return rows.assign(panel=panel, hue=trained, series=told)

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from experiments.analysis.drawing.style import look, loops_axis
        from experiments.analysis.drawing.versus import plot_versus

        labels = ("loops run", "held-out accuracy")
        picture = plot_versus(data, "loop", labels, loops_axis, title=self.title, bounded=True)
        looks = look(data["hue"])
        trained = data[["panel", "hue", "n_loops"]].drop_duplicates()
        for axes, name in zip(picture.axes, dict.fromkeys(data["panel"]), strict=True):
            for row in trained[trained["panel"] == name].itertuples():
                axes.axvline(row.n_loops, color=looks[row.hue][0], linewidth=0.7, zorder=1)
        return picture
