"""Where a gate leaves, over training: a collapse is one loop's line rising to 1."""

from typing import TYPE_CHECKING, Literal

from experiments.analysis.drawing import panels, style
from experiments.analysis.figures.figure import Figure, Need, leaves_by_a_gate
from experiments.results import selection

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Results


class ExitDistribution(Figure):
    """One panel per arm; a line per loop is the mean exit probability of the training batch."""

    kind: Literal["exit_distribution"] = "exit_distribution"

    def needs(self) -> tuple[Need, ...]:
        return (leaves_by_a_gate(self.part),)

    def data(self, results: "Results") -> "pd.DataFrame":
        rows = self.select(results.curves, metric="exit_probability")
        told = selection.series(rows, [*selection.PLACE, "arm", "step"], [])
        panel = selection.joined(selection.panels_of(rows, tasks=False), rows["arm"], told)
        return rows.assign(panel=panel, hue=[f"loop {loop}" for loop in rows["loop"]])

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from seaborn.objects import Band, Line

        cells = selection.over_seeds(data, ["panel", "hue", "step"]).astype({"step": float})
        looks = style.ramp(data["hue"])
        labels = ("training step", "exit probability")
        drawn = panels.Facets(
            panels.names_of(cells), labels, looks, x="step", y="mean", color="hue"
        )
        drawn.add(Line(), cells)
        several = cells[cells["n"] > 1]
        drawn.add(Band(alpha=0.13, edgewidth=0), several, y=None, ymin="low", ymax="high")
        for axes, _ in drawn.draw():
            panels.share_axis(axes)
        seeds = data.groupby("panel")["run_id"].nunique()
        told = panels.seeds_caption(seeds, "Lines", "bands").replace("; faint: each seed", "")
        return panels.finish(drawn.picture, self.title, panels.entries(looks, marker=""), [told])
