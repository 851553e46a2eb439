"""Accuracy against mean loops of every exit rule: what leaving early costs."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.analysis.figures.figure import Figure, Need, measured
from experiments.results.selection import series

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Results

KEY = ["run_id", "grid", "part", "component", "arm", "difficulty", "item"]


class QExitCurve(Figure):
    """One panel per arm and difficulty, a line per family of rules, a point per threshold.

    Rows come from the probe `exits`. A rule is worth having where its line runs above the static
    one, which leaves at the same loop whatever the question.
    """

    kind: Literal["q_exit_curve"] = "q_exit_curve"
    difficulty: int | tuple[int, ...] | None = Field(None, description="None: all")

    def needs(self) -> tuple[Need, ...]:
        return (measured("exits", difficulty=self.difficulty, part=self.part),)

    def data(self, results: "Results") -> "pd.DataFrame":
        from experiments.results.selection import difficulties_of, joined

        runs = results.runs
        right = self.select(runs, metric="exit_accuracy", difficulty=self.difficulty)
        if (right["n_loops"] > 1).any():  # with a single loop there is nowhere to leave
            right = right[right["n_loops"] > 1]
        loops = self.select(runs, metric="exit_loops", difficulty=self.difficulty)
        rows = right.merge(
            loops[[*KEY, "value"]].rename(columns={"value": "mean_loops"}), on=KEY
        ).sort_values("difficulty", kind="stable")
        given = ["part", "component", "arm"]
        told = series(rows, [*given, "difficulty"], [])
        panel = joined(*(rows[c] for c in given), told, difficulties_of(rows))
        return rows.assign(panel=panel, rule=[item.partition(" ")[0] for item in rows["item"]])

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from experiments.analysis.drawing.style import (
            FLOOR,
            GREY,
            counting_axis,
            legend,
            look,
            panels,
            seeds_note,
        )

        data = data[data["rule"] != "all"]  # the last static exit
        looks = look(sorted(data["rule"].unique(), key=lambda rule: (rule != "static", rule)))
        names = list(dict.fromkeys(data["panel"]))
        arms = len(names) // data["difficulty"].nunique(dropna=False)
        columns = arms if 1 < arms < 5 else 3
        picture, grid = panels(names, "mean loops", "held-out accuracy", columns=columns)
        for axes, name in zip(grid, names, strict=True):
            rows = data[data["panel"] == name]
            for rule, (colour, marker) in looks.items():
                _plot_rule(axes, rows[rows["rule"] == rule], colour, marker)
            if rows["floor"].notna().any():
                axes.axhline(rows["floor"].mean(), color=GREY, **FLOOR)
            counting_axis(axes, range(1, int(data["n_loops"].max()) + 1))
            axes.set_ylim(-0.03, 1.05)
        if self.title:
            picture.suptitle(self.title, fontsize=10.5)
        entries: list[tuple[str, dict[str, Any]]] = [
            (rule, {"color": colour, "marker": marker, "markersize": 4})
            for rule, (colour, marker) in looks.items()
        ]
        legend(picture, [*entries, ("floor", {"color": GREY, **FLOOR})])
        seeds_note(
            picture,
            data.groupby(["panel", "item"])["run_id"].nunique(),
            one="one seed; bars: 95 % interval over questions",
        )
        return picture


def _plot_rule(axes: "Axes", rows: "pd.DataFrame", colour: str, marker: str) -> None:
    """Means over seeds at each threshold in order of loops; intervals over seeds, or questions."""
    from experiments.results.selection import summary_of

    means = []
    for _, cell in rows.groupby("item", sort=False):
        x, y = summary_of(cell, "mean_loops"), summary_of(cell)
        low, high = y.low, y.high
        if low is None or high is None:
            low, high = cell["low"].iloc[0], cell["high"].iloc[0]
        else:
            points = cell["mean_loops"], cell["value"]
            axes.scatter(*points, s=10, color=colour, alpha=0.35, linewidths=0)
        axes.vlines(x.mean, low, high, colors=colour, linewidth=0.9, alpha=0.6)
        means.append((x.mean, y.mean))
    if means:
        look = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.2}
        axes.plot(*zip(*sorted(means), strict=True), **look)
