"""How many seeds solve the held-out questions: what bimodal results need instead of a mean."""

from typing import Literal

from pydantic import Field

from experiments.analysis.drawing.rows import plot_rows
from experiments.analysis.figures.figure import OfQuestions, Picture, Results, Rows
from experiments.results import selection
from experiments.text import number
from probes.statistics.seeds import SOLVED


class SeedsSolved(OfQuestions):
    """Share of seeds that reach `level`, with its Wilson interval, by arm and difficulty.

    A run that failed has solved nothing, and counts; one that is not done yet does not.
    """

    kind: Literal["seeds_solved"] = "seeds_solved"
    level: float = Field(SOLVED, gt=0, le=1, description="accuracy that counts as solved")

    def data(self, results: Results) -> Rows:
        found = self.accuracies(selection.last_loop(results.runs))
        found = selection.with_failed(found, results.runs)
        panel = selection.joined(selection.panels_of(found), selection.difficulties_of(found))
        told = selection.series(found, [*selection.PLACE, "arm", "difficulty"], [])
        return found.assign(panel=panel, name=selection.joined(found["arm"], told))

    def plot(self, data: Rows) -> Picture:
        import pandas as pd

        from probes.statistics import solved

        data = data.drop_duplicates(["panel", "name", "run_id"])
        found = []
        for (panel, arm, name), cell in data.groupby(["panel", "arm", "name"], sort=False):
            share = solved(cell["value"].tolist(), self.level)
            place = {"panel": panel, "arm": arm, "name": name, "text": f"{share.count}/{share.n}"}
            ends = {"mean": share.count / share.n, "low": share.low, "high": share.high}
            found.append({**place, **ends, "floor": float("nan")})
        cells = pd.DataFrame(found)
        cells.attrs = data.attrs
        told = [f"Points: share of seeds that reach {self.level:g}; bars: 95 % Wilson interval."]
        if failed := data[data["status"] == "failed"]["run_id"].nunique():
            told.append(f"Runs that failed ({failed}) count as not solved.")
        told += _sizes(data)
        across = data["panel"].nunique() // data["difficulty"].nunique()
        look = {"columns": across, "title": self.title, "caption": told}
        return plot_rows(cells, data[:0], "share of seeds solved", **look)


def _sizes(data: Rows) -> list[str]:
    """A sentence on parameters, which arms of one figure may differ in; none where none is known.

    An arm of several sizes is left out: its rows are named by what tells them apart.
    """
    of_arm = data.dropna(subset=["parameters"]).groupby("arm", sort=False)["parameters"]
    one = of_arm.first()[of_arm.nunique() == 1]
    if one.empty:
        return []
    if one.nunique() == 1 and len(one) == data["arm"].nunique():
        return [f"All arms have {number(one.iloc[0])} parameters."]
    sizes = (f"{', '.join(arms.index)} {number(n)}" for n, arms in one.groupby(one, sort=False))
    return [f"Parameters: {'; '.join(sizes)}."]
