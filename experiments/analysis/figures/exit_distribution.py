"""Where a gate leaves, over training: a collapse is one loop's line rising to 1."""

from typing import Literal

from experiments.analysis.drawing.panels import Facets, seeds_caption, share_axis
from experiments.analysis.drawing.style import ramp
from experiments.analysis.figures.figure import (
    Figure,
    Need,
    Picture,
    Results,
    Rows,
    leaves_by_a_gate,
)
from experiments.results import selection


class ExitDistribution(Figure):
    """One panel per arm; a line per loop is the mean exit probability of the training batch."""

    kind: Literal["exit_distribution"] = "exit_distribution"

    def needs(self) -> tuple[Need, ...]:
        return (leaves_by_a_gate(self.part),)

    def data(self, results: Results) -> Rows:
        rows = self.select(results.curves, metric="exit_probability")
        told = selection.series(rows, [*selection.PLACE, "arm", "step"], [])
        panel = selection.joined(selection.panels_of(rows, tasks=False), rows["arm"], told)
        return rows.assign(panel=panel, hue=[f"loop {loop}" for loop in rows["loop"]])

    def plot(self, data: Rows) -> Picture:
        from seaborn.objects import Band, Line

        cells = selection.over_seeds(data, ["panel", "hue", "step"]).astype({"step": float})
        labels, variables = ("training step", "exit probability"), {"x": "step", "y": "mean"}
        drawn = Facets(cells, labels, ramp(data["hue"]), color="hue", **variables)
        drawn.add(Line(), cells)
        ends = {"y": None, "ymin": "low", "ymax": "high"}
        drawn.add(Band(alpha=0.13, edgewidth=0), cells[cells["n"] > 1], **ends)
        for axes, _ in drawn.draw():
            share_axis(axes)
        seeds = data.groupby("panel")["run_id"].nunique()
        told = seeds_caption(seeds, "Lines", "bands").replace("; faint: each seed", "")
        return drawn.finish(self.title, [told], marker="")
