"""Held-out accuracy against the number of loops, by difficulty, with the floor of each world."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.analysis.figures.figure import Figure, Need, measured
from experiments.results.selection import series_over_loops

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Results


class AccuracyVersusLoops(Figure):
    """One panel per part; colour is the difficulty, the line k, width and what else differs."""

    kind: Literal["accuracy_versus_loops"] = "accuracy_versus_loops"
    split: str = Field("test", description="split of the questions")
    difficulty: int | tuple[int, ...] | None = Field(None, description="None: all")

    def needs(self) -> tuple[Need, ...]:
        asked = measured("accuracy", split=self.split, difficulty=self.difficulty, part=self.part)
        return (asked,)

    def data(self, results: "Results") -> "pd.DataFrame":
        from experiments.results.selection import difficulties_of, last_loop, panels_of

        runs = last_loop(results.runs)
        rows = self.select(
            runs, metric="accuracy", item="", split=self.split, difficulty=self.difficulty
        ).sort_values("difficulty", kind="stable")
        return rows.assign(
            panel=panels_of(rows),
            hue=difficulties_of(rows),
            series=series_over_loops(rows, ["part", "task", "component"]),
        )

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from experiments.analysis.drawing.versus import plot_versus_loops

        return plot_versus_loops(data, "accuracy", title=self.title, bounded=True)
