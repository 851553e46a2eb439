"""Accuracy of decoding under exit rules and shared caches, with the memory that each keeps."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.analysis.drawing import panels, rows
from experiments.analysis.figures.figure import Figure, Need, measured
from experiments.results import selection

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Results

KEY = ["run_id", "grid", "part", "component", "difficulty", "item"]


class CacheStrategies(Figure):
    """A row per rule and cache, its bytes per token beside it; one panel per part and difficulty.

    Rows come from the probe `decoding`.
    """

    kind: Literal["cache_strategies"] = "cache_strategies"
    difficulty: int | tuple[int, ...] | None = Field(None, description="None: all")

    def needs(self) -> tuple[Need, ...]:
        return (measured("decoding", difficulty=self.difficulty, part=self.part),)

    def data(self, results: "Results") -> "pd.DataFrame":
        from experiments.text import bytes_text

        runs = results.runs
        size = self.select(runs, metric="cache_bytes_per_token", difficulty=self.difficulty).rename(
            columns={"value": "cache_bytes_per_token"}
        )
        right = self.select(runs, metric="accuracy", difficulty=self.difficulty)
        rows = right.merge(size[[*KEY, "cache_bytes_per_token"]], on=KEY)
        rows = rows.sort_values("difficulty", kind="stable")
        panel = selection.joined(
            selection.panels_of(rows, tasks=False), selection.difficulties_of(rows)
        )
        sizes = zip(rows["item"], rows["cache_bytes_per_token"], strict=True)
        setting = [f"{_short(item)}: {bytes_text(b)}/token" for item, b in sizes]
        return rows.assign(panel=panel, setting=setting)

    def plot(self, data: "pd.DataFrame") -> "Picture":
        data = data.rename(columns={"setting": "name"})
        by = ["panel", "arm", "name"]
        seeds = data.groupby(by)["run_id"].transform("nunique")
        told = panels.seeds_caption(seeds, "Points")
        if set(seeds) == {1}:
            told = f"{told} Bars: 95 % interval over questions."
        cells = selection.with_item_intervals(selection.over_seeds(data, by), data, by).assign(
            text=""
        )
        cells.attrs = data.attrs
        label = "held-out accuracy"
        return rows.plot_rows(
            cells, data[seeds > 1], label, columns=4, title=self.title, caption=[told]
        )


def _short(item: str) -> str:
    """Without what is the case unless said otherwise."""
    parts = [p for p in item.split(", ") if p not in ("exit all", "prefill full")]
    return ", ".join(parts)
