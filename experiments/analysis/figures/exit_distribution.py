"""Where a gate leaves, over training: a collapse is one loop's line rising to 1."""

from typing import TYPE_CHECKING, Literal

from experiments.analysis.figures.figure import Figure, Need, leaves_by_a_gate
from experiments.results.selection import series

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
        from experiments.results.selection import joined

        rows = self.select(results.curves, metric="exit_probability")
        told = series(rows, ["part", "arm", "step"], [])
        panel = joined(rows["part"], rows["arm"], told)
        return rows.assign(panel=panel, hue=[f"loop {loop}" for loop in rows["loop"]])

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from seaborn import lineplot

        from experiments.analysis.drawing.style import (
            interval_of_shares,
            legend,
            look,
            panels,
            seeds_note,
        )

        looks = look(data["hue"])
        names = list(dict.fromkeys(data["panel"]))
        picture, grid = panels(names, "step", "exit probability")
        for axes, name in zip(grid, names, strict=True):
            lineplot(
                data=data[data["panel"] == name].astype({"step": float}),
                x="step",
                y="value",
                hue="hue",
                palette={hue: colour for hue, (colour, _) in looks.items()},
                dashes=False,
                errorbar=interval_of_shares,
                err_kws={"alpha": 0.13, "linewidth": 0},
                legend=False,
                ax=axes,
            )
            axes.set(xlabel="step", ylabel="exit probability", ylim=(-0.03, 1.05))
        if self.title:
            picture.suptitle(self.title, fontsize=10.5)
        legend(picture, [(hue, {"color": colour}) for hue, (colour, _) in looks.items()])
        seeds_note(picture, data.groupby("panel")["run_id"].nunique(), shown="")
        return picture
