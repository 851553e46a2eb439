"""Accuracy of decoding under exit rules and shared caches, with the memory that each keeps."""

from typing import Literal

from experiments.analysis.drawing.panels import seeds_caption
from experiments.analysis.drawing.rows import plot_rows
from experiments.analysis.figures.figure import ByDifficulty, Picture, Results, Rows
from experiments.results import selection

KEY = ["run_id", "grid", "part", "component", "difficulty", "item"]
SIZE = "cache_bytes_per_token"
#: what is the case unless said otherwise
USUAL = ("exit all", "prefill full")


class CacheStrategies(ByDifficulty):
    """A row per rule and cache, its bytes per token beside it; one panel per part and difficulty.

    Rows come from the probe `decoding`.
    """

    kind: Literal["cache_strategies"] = "cache_strategies"
    probes = ("decoding",)

    def data(self, results: Results) -> Rows:
        from experiments.text import bytes_text

        size = self.select(results.runs, metric=SIZE, difficulty=self.difficulty)
        right = self.select(results.runs, metric="accuracy", difficulty=self.difficulty)
        rows = right.merge(size.rename(columns={"value": SIZE})[[*KEY, SIZE]], on=KEY)
        rows = rows.sort_values("difficulty", kind="stable")
        panel = selection.joined(
            selection.panels_of(rows, tasks=False), selection.difficulties_of(rows)
        )
        rules = [", ".join(p for p in item.split(", ") if p not in USUAL) for item in rows["item"]]
        sizes = [f"{bytes_text(size)}/token" for size in rows[SIZE]]
        setting = [f"{rule}: {size}" for rule, size in zip(rules, sizes, strict=True)]
        return rows.assign(panel=panel, setting=setting)

    def plot(self, data: Rows) -> Picture:
        data = data.rename(columns={"setting": "name"})
        by = ["panel", "arm", "name"]
        seeds = data.groupby(by)["run_id"].transform("nunique")
        told = seeds_caption(seeds, "Points", of_items=True)
        cells = selection.with_item_intervals(selection.over_seeds(data, by), data, by)
        cells.attrs = data.attrs
        look = {"columns": 4, "title": self.title, "caption": [told]}
        return plot_rows(cells.assign(text=""), data[seeds > 1], "held-out accuracy", **look)
