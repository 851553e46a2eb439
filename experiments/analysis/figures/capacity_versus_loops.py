"""Bits stored per parameter against the number of loops, or of people, with the most there is."""

from typing import Literal

from experiments.analysis.drawing.panels import numbers_axis
from experiments.analysis.drawing.versus import Against, Versus
from experiments.analysis.figures.figure import OfBits, Results, Rows
from experiments.errors import LoopscopeError
from experiments.results import selection


class CapacityVersusLoops(OfBits, Versus):
    """One panel per part; colour tells apart k, width, exposures and the items shown."""

    kind: Literal["capacity_versus_loops"] = "capacity_versus_loops"
    against = Against("bits per parameter")

    def data(self, results: Results) -> Rows:
        rows = self.bits(results)
        told = self.with_items(selection.series_over_loops(rows, selection.PLACE), rows)
        panel = selection.joined(
            selection.panels_of(rows), selection.exposures_of(rows, selection.PLACE)
        )
        return rows.assign(panel=panel, hue=told, series="")


class CapacityVersusPeople(OfBits, Versus):
    """One panel per part, colours by arm; a dotted line is every bit there is to store.

    People are read from the config of each run, so that any axis may vary them, alone or with
    the exposures, as in a grid that holds the number of biographies fixed.
    """

    kind: Literal["capacity_versus_people"] = "capacity_versus_people"
    against = Against("bits per parameter", "people", "people", numbers_axis, aside=False)

    def data(self, results: Results) -> Rows:
        rows = self.bits(results)
        tasks = {run_id: results.config(run_id).task for run_id in rows["run_id"].unique()}
        people = {run_id: getattr(task, "people", None) for run_id, task in tasks.items()}
        rows = rows.assign(people=rows["run_id"].map(people).astype(float))
        rows = rows[rows["people"].notna()]
        if rows.empty:
            raise LoopscopeError(f"figure {self.kind}: these tasks have no number of people")
        told = selection.series(rows, [*selection.PLACE, "arm", "people", "item"], [])
        told = self.with_items(told, rows)
        return rows.assign(panel=selection.panels_of(rows), hue=rows["arm"], series=told)
