"""Priors on the exit compared: where they make the gate leave, and how right each loop is."""

from typing import Literal

from experiments.analysis.drawing.panels import counting_axis
from experiments.analysis.drawing.versus import Against, Versus
from experiments.analysis.figures.figure import Need, OfQuestions, Results, Rows, leaves_by_a_gate
from experiments.results import selection

EXITS = "exit probability at the end"


class Priors(OfQuestions, Versus):
    """Exit probability at the last logged step, then accuracy by difficulty, both per loop.

    Accuracies of every loop come from the probe `{kind: accuracy, loops: all}`.
    """

    kind: Literal["priors"] = "priors"
    against = Against("probability or accuracy", "loop", "loop", counting_axis, bounded=True)

    def needs(self) -> tuple[Need, ...]:
        return (leaves_by_a_gate(self.part), *super().needs())

    def data(self, results: Results) -> Rows:
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
