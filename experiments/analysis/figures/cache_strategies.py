"""Accuracy of decoding under exit rules and shared caches, with the memory that each keeps."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.analysis.figures.figure import Figure, Need, measured

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
        from experiments.results.selection import difficulties_of, joined
        from experiments.text import number

        runs = results.runs
        size = self.select(runs, metric="cache_bytes_per_token", difficulty=self.difficulty).rename(
            columns={"value": "cache_bytes_per_token"}
        )
        right = self.select(runs, metric="accuracy", difficulty=self.difficulty)
        rows = right.merge(size[[*KEY, "cache_bytes_per_token"]], on=KEY)
        rows = rows.sort_values("difficulty", kind="stable")
        panel = joined(rows["part"], rows["component"], difficulties_of(rows))
        sizes = zip(rows["item"], rows["cache_bytes_per_token"], strict=True)
        setting = [f"{_short(item)}: {number(b)} B/token" for item, b in sizes]
        return rows.assign(panel=panel, setting=setting)

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from experiments.analysis.drawing.style import (
            FLOOR,
            GREY,
            legend,
            look,
            panels,
            seeds_note,
        )

        looks = look(data["arm"])
        names, settings = (list(dict.fromkeys(data[c])) for c in ("panel", "setting"))
        picture, grid = panels(names, "held-out accuracy", "")
        picture.set_figheight(1.3 + 0.3 * len(settings) * max(1, len(looks) / 2))
        picture.set_figwidth(picture.get_figwidth() + 0.07 * max(map(len, settings)))
        for axes, name in zip(grid, names, strict=True):
            for i, arm in enumerate(looks):
                rows = data[(data["panel"] == name) & (data["arm"] == arm)]
                shift = 0.6 * ((i + 0.5) / len(looks) - 0.5)
                _plot_arm(axes, rows, settings, shift, *looks[arm])
            floor = data[data["panel"] == name]["floor"]
            if floor.notna().any():
                axes.axvline(floor.mean(), color=GREY, **FLOOR)
            axes.set_yticks(range(len(settings)), settings)
            axes.set(xlim=(-0.03, 1.05), ylim=(len(settings) - 0.5, -0.5))
        if self.title:
            picture.suptitle(self.title, fontsize=10.5)
        arms: list[tuple[str, dict[str, Any]]] = [
            (arm, {"color": colour, "marker": marker, "linestyle": ""})
            for arm, (colour, marker) in looks.items()
        ]
        legend(picture, [*arms, ("floor", {"color": GREY, **FLOOR})])
        seeds_note(
            picture,
            data.groupby(["panel", "arm", "item"])["run_id"].nunique(),
            one="one seed; bars: 95 % interval over questions",
        )
        return picture


def _plot_arm(
    axes: Any,
    rows: "pd.DataFrame",
    settings: list[str],
    shift: float,
    colour: str,
    marker: str,
) -> None:
    from experiments.results.selection import summary_of

    for setting, cell in rows.groupby("setting", sort=False):
        at, found = settings.index(str(setting)) + shift, summary_of(cell)
        low, high = found.low, found.high
        if low is None or high is None:
            low, high = cell["low"].iloc[0], cell["high"].iloc[0]
        else:
            points = cell["value"], [at] * len(cell)
            axes.scatter(*points, s=12, color=colour, alpha=0.35, linewidths=0)
        axes.hlines(at, low, high, colors=colour, linewidth=1.2)
        axes.plot(found.mean, at, color=colour, marker=marker, markersize=5)


def _short(item: str) -> str:
    """Without what is the case unless said otherwise."""
    parts = [p for p in item.split(", ") if p not in ("exit all", "prefill full")]
    return ", ".join(parts)
