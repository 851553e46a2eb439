"""Bits stored per parameter against the number of loops, or of people, with the most there is."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from experiments.analysis.drawing import panels
from experiments.analysis.drawing.versus import LOOPS, Against, Versus
from experiments.analysis.figures.figure import CAPACITY, Need, measured
from experiments.errors import LoopscopeError
from experiments.results import selection

if TYPE_CHECKING:
    import pandas as pd

    from experiments.results.long_table import Results


class CapacityVersusLoops(Versus):
    """One panel per part; colour tells apart k, width, exposures and the items shown."""

    kind: Literal["capacity_versus_loops"] = "capacity_versus_loops"
    against: ClassVar[Against] = Against(**LOOPS, y="bits per parameter")
    item: str | tuple[str, ...] = Field(
        "total", description="which bits: total, name, values or one attribute"
    )

    def needs(self) -> tuple[Need, ...]:
        return (measured(*CAPACITY, part=self.part),)

    def data(self, results: "Results") -> "pd.DataFrame":
        runs = selection.last_loop(results.runs)
        rows = self.select(runs, metric="bits_per_parameter", item=self.item)
        told = selection.series_over_loops(rows, selection.PLACE)
        if rows["item"].nunique() > 1:
            told = [
                f"{t}, {item}" if t else item for t, item in zip(told, rows["item"], strict=True)
            ]
        panel = selection.joined(
            selection.panels_of(rows), selection.exposures_of(rows, selection.PLACE)
        )
        return rows.assign(panel=panel, hue=told, series="")


class CapacityVersusPeople(Versus):
    """One panel per part, colours by arm; a dotted line is every bit there is to store.

    People are read from the config of each run, so that any axis may vary them, alone or with
    the exposures, as in a grid that holds the number of biographies fixed.
    """

    kind: Literal["capacity_versus_people"] = "capacity_versus_people"
    against: ClassVar[Against] = Against(
        "people", "people", panels.numbers_axis, y="bits per parameter", aside=False
    )
    item: str = Field("total", description="which bits: total, name, values or one attribute")

    def needs(self) -> tuple[Need, ...]:
        return (measured(*CAPACITY, part=self.part),)

    def data(self, results: "Results") -> "pd.DataFrame":
        rows = self.select(
            selection.last_loop(results.runs), metric="bits_per_parameter", item=self.item
        )
        people = {run_id: _people(results, run_id) for run_id in rows["run_id"].unique()}
        rows = rows.assign(people=rows["run_id"].map(people))
        rows = rows[rows["people"].notna()]
        if rows.empty:
            raise LoopscopeError(f"figure {self.kind}: these tasks have no number of people")
        told = selection.series(rows, [*selection.PLACE, "arm", "people"], [])
        return rows.assign(panel=selection.panels_of(rows), hue=rows["arm"], series=told)


def _people(results: "Results", run_id: str) -> float | None:
    people = getattr(results.config(run_id).task, "people", None)
    return None if people is None else float(people)
