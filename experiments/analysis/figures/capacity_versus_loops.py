"""Bits stored per parameter against the number of loops, with the most there is to store."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.analysis.figures.figure import CAPACITY, Figure, Need, measured
from experiments.results.selection import series_over_loops

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Results


class CapacityVersusLoops(Figure):
    """One panel per part; colour tells apart k, width, exposures and the items shown."""

    kind: Literal["capacity_versus_loops"] = "capacity_versus_loops"
    item: str | tuple[str, ...] = Field(
        "total", description="which bits: total, name, values or one attribute"
    )

    def needs(self) -> tuple[Need, ...]:
        return (measured(*CAPACITY, part=self.part),)

    def data(self, results: "Results") -> "pd.DataFrame":
        from experiments.results.selection import exposures_of, joined, last_loop, panels_of

        runs = last_loop(results.runs)
        rows = self.select(runs, metric="bits_per_parameter", item=self.item)
        told = series_over_loops(rows, ["part", "task", "component"])
        if rows["item"].nunique() > 1:
            told = [
                f"{t}, {item}" if t else item for t, item in zip(told, rows["item"], strict=True)
            ]
        panel = joined(panels_of(rows), exposures_of(rows, ["part", "task", "component"]))
        return rows.assign(panel=panel, hue=told, series="")

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from experiments.analysis.drawing.versus import plot_versus_loops

        return plot_versus_loops(data, "bits per parameter", title=self.title)
