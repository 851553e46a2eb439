"""Priors on the exit compared: where they make the gate leave, and how right each loop is."""

from typing import TYPE_CHECKING, ClassVar, Literal

from experiments.analysis.drawing import panels
from experiments.analysis.drawing.versus import Against, Versus
from experiments.analysis.figures.figure import Need, OfQuestions, leaves_by_a_gate
from experiments.results import selection

if TYPE_CHECKING:
    import pandas as pd

    from experiments.results.long_table import Results

EXITS = "exit probability at the end"


class Priors(OfQuestions, Versus):
    """Exit probability at the last logged step, then accuracy by difficulty, both per loop.

    Accuracies of every loop come from the probe `{kind: accuracy, loops: all}`.
    """

    kind: Literal["priors"] = "priors"
    against: ClassVar[Against] = Against(
        "loop", "loop", panels.counting_axis, y="probability or accuracy", bounded=True
    )

    def needs(self) -> tuple[Need, ...]:
        return (leaves_by_a_gate(self.part), *super().needs())

    def data(self, results: "Results") -> "pd.DataFrame":
        import pandas as pd

        exits = self.select(results.curves, metric="exit_probability")
        last = exits.groupby("run_id")["step"].transform("max")
        exits = exits[exits["step"] == last].assign(panel=EXITS)
        right = self.accuracies(results.runs)
        right = right[right["run_id"].isin(exits["run_id"])]
        names = selection.joined(right["component"], selection.difficulties_of(right))
        right = right.assign(panel=[f"accuracy, {name}" for name in names])
        rows = pd.concat([exits, right], ignore_index=True)
        return rows.assign(hue=rows["arm"], series=rows["part"])
