"""Accuracy against mean loops of every exit rule: what leaving early costs."""

from typing import Literal

from experiments.analysis.drawing.panels import Facets, counting_axis, seeds_caption, share_axis
from experiments.analysis.drawing.style import named
from experiments.analysis.figures.figure import ByDifficulty, Picture, Results, Rows
from experiments.results import selection

KEY = ["run_id", "grid", "part", "component", "arm", "difficulty", "item"]
BY = ["panel", "rule", "item"]


class QExitCurve(ByDifficulty):
    """One panel per arm and difficulty, a line per family of rules, a point per threshold.

    Rows come from the probe `exits`. A rule is worth having where its line runs above the static
    one, which leaves at the same loop whatever the question.
    """

    kind: Literal["q_exit_curve"] = "q_exit_curve"
    probes = ("exits",)

    def data(self, results: Results) -> Rows:
        right = self.select(results.runs, metric="exit_accuracy", difficulty=self.difficulty)
        if (right["n_loops"] > 1).any():  # with a single loop there is nowhere to leave
            right = right[right["n_loops"] > 1]
        loops = self.select(results.runs, metric="exit_loops", difficulty=self.difficulty)
        loops = loops[[*KEY, "value"]].rename(columns={"value": "mean_loops"})
        rows = right.merge(loops, on=KEY).sort_values("difficulty", kind="stable")
        told = selection.series(rows, [*selection.PLACE, "arm", "difficulty"], [])
        panels, hard = selection.panels_of(rows, tasks=False), selection.difficulties_of(rows)
        panel = selection.joined(panels, rows["arm"], told, hard)
        return rows.assign(panel=panel, rule=[item.partition(" ")[0] for item in rows["item"]])

    def plot(self, data: Rows) -> Picture:
        from seaborn.objects import Path, Range

        data = data[data["rule"] != "all"]  # the last static exit
        rules = sorted(data["rule"].unique(), key=lambda rule: (rule != "static", rule))
        cells = selection.with_item_intervals(selection.over_seeds(data, BY), data, BY)
        loops = data.groupby(BY)["mean_loops"].mean()
        cells = cells.merge(loops, on=BY).sort_values("mean_loops", kind="stable")
        arms = data["arm"].nunique()
        drawn = Facets(
            data,
            ("mean loops run", "held-out accuracy"),
            named(rules),
            columns=arms if 1 < arms < 6 else 3,
            **{"x": "mean_loops", "y": "mean", "color": "rule", "marker": "rule"},
        )
        drawn.add(Range(linewidth=0.9, alpha=0.6), cells, y=None, ymin="low", ymax="high")
        seeds = data.groupby(["panel", "item"])["run_id"].transform("nunique")
        drawn.add_seeds(data[seeds > 1], y="value")
        drawn.add(Path(pointsize=4, linewidth=1.2), cells)
        for axes, _ in drawn.draw():
            counting_axis(axes, range(1, int(data["n_loops"].max()) + 1))
            share_axis(axes)
        return drawn.finish(self.title, [seeds_caption(seeds, of_items=True)])
