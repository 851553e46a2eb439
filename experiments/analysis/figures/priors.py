"""Priors on the exit compared: where they make the gate leave, and how right each loop is."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.analysis.figures.figure import Figure, Need, leaves_by_a_gate, measured

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Results

EXITS = "exit probability at the end"


class Priors(Figure):
    """Exit probability at the last logged step, then accuracy by difficulty, both per loop.

    Accuracies of every loop come from the probe `{kind: accuracy, loops: all}`.
    """

    kind: Literal["priors"] = "priors"
    split: str = Field("test", description="split of the questions")
    difficulty: int | tuple[int, ...] | None = Field(None, description="None: all")

    def needs(self) -> tuple[Need, ...]:
        asked = measured("accuracy", split=self.split, difficulty=self.difficulty, part=self.part)
        return (leaves_by_a_gate(self.part), asked)

    def data(self, results: "Results") -> "pd.DataFrame":
        import pandas as pd

        from experiments.results.selection import difficulties_of, joined

        exits = self.select(results.curves, metric="exit_probability")
        last = exits.groupby("run_id")["step"].transform("max")
        exits = exits[exits["step"] == last].assign(panel=EXITS)
        right = self.select(
            results.runs,
            metric="accuracy",
            item="",
            split=self.split,
            difficulty=self.difficulty,
        ).sort_values("difficulty", kind="stable")
        right = right[right["run_id"].isin(exits["run_id"])]
        names = joined(right["component"], difficulties_of(right))
        right = right.assign(panel=[f"accuracy, {name}" for name in names])
        rows = pd.concat([exits, right], ignore_index=True)
        return rows.assign(hue=rows["arm"], series=rows["part"])

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from experiments.analysis.drawing.style import counting_axis
        from experiments.analysis.drawing.versus import plot_versus

        labels = ("loop", "share")
        return plot_versus(data, "loop", labels, counting_axis, title=self.title, bounded=True)
