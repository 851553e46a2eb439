"""Accuracy against mean loops of every exit rule: what leaving early costs."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.analysis.drawing import panels, style
from experiments.analysis.figures.figure import Figure, Need, measured
from experiments.results import selection

if TYPE_CHECKING:
    import pandas as pd
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
        runs = results.runs
        right = self.select(runs, metric="exit_accuracy", difficulty=self.difficulty)
        if (right["n_loops"] > 1).any():  # with a single loop there is nowhere to leave
            right = right[right["n_loops"] > 1]
        loops = self.select(runs, metric="exit_loops", difficulty=self.difficulty)
        rows = right.merge(
            loops[[*KEY, "value"]].rename(columns={"value": "mean_loops"}), on=KEY
        ).sort_values("difficulty", kind="stable")
        told = selection.series(rows, [*selection.PLACE, "arm", "difficulty"], [])
        panel = selection.joined(
            selection.panels_of(rows, tasks=False),
            rows["arm"],
            told,
            selection.difficulties_of(rows),
        )
        return rows.assign(panel=panel, rule=[item.partition(" ")[0] for item in rows["item"]])

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from seaborn.objects import Path, Range

        data = data[data["rule"] != "all"]  # the last static exit
        looks = style.named(
            sorted(data["rule"].unique(), key=lambda rule: (rule != "static", rule))
        )
        cells = _cells(data)
        arms = data["arm"].nunique()
        drawn = panels.Facets(
            panels.names_of(cells),
            ("mean loops run", "held-out accuracy"),
            looks,
            columns=arms if 1 < arms < 6 else 3,
            x="loops",
            y="mean",
            color="rule",
            marker="rule",
        )
        drawn.add(Range(linewidth=0.9, alpha=0.6), cells, y=None, ymin="low", ymax="high")
        several = data.groupby(["panel", "item"])["run_id"].transform("nunique") > 1
        drawn.add(panels.faint(), data[several], x="mean_loops", y="value")
        drawn.add(Path(pointsize=4, linewidth=1.2), cells)
        for axes, name in drawn.draw():
            floor = data[data["panel"] == name]["floor"]
            if floor.notna().any():
                axes.axhline(floor.mean(), color=style.GREY, **style.FLOOR)
            panels.counting_axis(axes, range(1, int(data["n_loops"].max()) + 1))
            panels.share_axis(axes)
        seeds = set(data.groupby(["panel", "item"])["run_id"].nunique())
        told = panels.seeds_caption(seeds)
        if seeds == {1}:
            told = f"{told} Bars: 95 % interval over questions."
        return panels.finish(
            drawn.picture, self.title, [*panels.entries(looks), panels.FLOOR_ENTRY], [told]
        )


def _cells(data: "pd.DataFrame") -> "pd.DataFrame":
    """A row per rule and threshold, by loops: means; intervals over seeds, else over questions."""

    by = ["panel", "rule", "item"]
    loops = data.groupby(by)["mean_loops"].mean().rename("loops")
    found = selection.with_item_intervals(selection.over_seeds(data, by), data, by).merge(
        loops, on=by
    )
    return found.sort_values("loops", kind="stable")
