"""Held-out accuracy against the number of loops, by difficulty, with the floor of each world."""

from typing import Literal

from experiments.analysis.drawing.versus import Against, Versus
from experiments.analysis.figures.figure import OfQuestions, Results, Rows
from experiments.results import selection


class AccuracyVersusLoops(OfQuestions, Versus):
    """One panel per part; colour is the difficulty, the line k, width and what else differs."""

    kind: Literal["accuracy_versus_loops"] = "accuracy_versus_loops"
    against = Against("held-out accuracy", bounded=True)

    def data(self, results: Results) -> Rows:
        rows = self.accuracies(selection.last_loop(results.runs))
        return rows.assign(
            panel=selection.panels_of(rows),
            hue=selection.difficulties_of(rows),
            series=selection.series_over_loops(rows, selection.PLACE),
        )
