"""A measured number by loop and layer, such as what the lens or a linear probe finds where."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.analysis.drawing import panels, style, words
from experiments.analysis.figures.figure import Figure, Need, measured
from experiments.errors import LoopscopeError
from experiments.results import selection

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

    from experiments.results.long_table import Results

#: the state after all blocks of a loop, before the first loop the embedding
END = "end"
#: first word of a metric -> the probe that measures it
PROBES = {"lens": "lens", "probe": "linear"}
WHOLE = ("", "embed", "state")


class HeatMap(Figure):
    """Loops downwards, layers to the right; a panel per target, difficulty and arm.

    Reads rows whose `item` is a target, or `target@core.0.loop.2`: the state after that block.
    Without a block it is the state at the end of the loop, loop 0 being the embedding. Layers of
    tokens further left (`target@core.0 -1`) stand further left. Cells hold the mean over seeds;
    their intervals are in the CSV.
    """

    kind: Literal["heat_map"] = "heat_map"
    metric: str = Field("lens_accuracy", description="metric of the probe `lens` or `linear`")
    target: str | tuple[str, ...] | None = Field(None, description="None: all")
    difficulty: int | tuple[int, ...] | None = Field(None, description="None: all")

    def needs(self) -> tuple[Need, ...]:
        kind = PROBES.get(self.metric.partition("_")[0])
        return () if kind is None else (measured(kind, difficulty=self.difficulty, part=self.part),)

    def data(self, results: "Results") -> "pd.DataFrame":
        rows = self.select(results.runs, metric=self.metric, difficulty=self.difficulty)
        places = list(map(_place, rows["item"]))
        for i, column in enumerate(("target", "layer", "before")):
            rows = rows.assign(**{column: [place[i] for place in places]})
        wanted = (self.target,) if isinstance(self.target, str) else self.target
        if wanted is not None:
            there = ", ".join(dict.fromkeys(rows["target"]))
            rows = rows[rows["target"].isin(wanted)]
            if rows.empty:
                raise LoopscopeError(f"figure {self.kind}: no target {self.target}; has {there}")
        rows = rows.sort_values(["difficulty", "target"], kind="stable")
        told = selection.series(rows, [*selection.PLACE, "arm", "difficulty", "item", "loop"], [])
        names = selection.joined(
            selection.panels_of(rows, tasks=False),
            rows["arm"],
            told,
            selection.difficulties_of(rows),
        )
        panel = [f"{name}\n{target}" for name, target in zip(names, rows["target"], strict=True)]
        cells = selection.over_seeds(
            rows.assign(panel=panel), ["panel", "target", "loop", "before", "layer"]
        )
        floor = cells.groupby("panel")["floor"].transform("mean")
        told = zip(cells["panel"], floor, strict=True)
        return cells.assign(panel=[p if f != f else f"{p}, floor {f:.2f}" for p, f in told])

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from seaborn import heatmap

        names = panels.names_of(data)
        columns = _in_order(data)
        per_target = len(names) // data["target"].nunique()
        wide = per_target if 1 < per_target < 5 else 3
        size = (0.4 + 0.33 * len(columns) + 0.8, 0.9 + 0.24 * (data["loop"].nunique() + 1))
        picture, grid = panels.blank(names, columns=wide, size=size)
        share = bool(data["mean"].between(-1, 1).all())
        low, high = data["mean"].min(), data["mean"].max()
        low, high = (min(0.0, low), 1.0) if share else (low, high)
        for i, (axes, name) in enumerate(zip(grid, names, strict=True)):
            rows = data[data["panel"] == name]
            table = rows.pivot(index="loop", columns=["before", "layer"], values="mean")
            heatmap(
                table.reindex(columns=columns).astype(float),
                vmin=low,
                vmax=high,
                cmap="cividis",  # even in grey, and the same to the colour-blind
                annot=True,
                fmt="z.2f" if share else ".3g",
                annot_kws={"fontsize": style.points(0.78)},
                xticklabels=[_tick(*column) for column in columns],
                cbar=False,
                ax=axes,
            )
            for at in range(1, len(columns)):
                if columns[at][0] != columns[at - 1][0]:
                    axes.axvline(at, color="white", linewidth=4)
            last = i + wide >= len(names)
            axes.set(xlabel=_axis(columns) if last else "", ylabel="" if i % wide else "loop")
            axes.tick_params(axis="y", rotation=0)
            axes.grid(False)
        metric = words.in_words(self.metric)
        picture.colorbar(grid[0].collections[0], ax=grid, label=metric, shrink=0.8, aspect=30)
        told = "Cells: means over seeds, whose intervals are in the CSV."
        told = panels.seeds_caption([1]) if set(data["n"]) == {1} else told
        return panels.finish(picture, self.title or metric, [], [told])


def _place(item: str) -> tuple[str, str, int]:
    """(target, layer, tokens before the one that predicts the answer)."""
    target, _, rest = item.partition("@")
    name, _, before = rest.partition(" -")
    layer = name.partition(".loop.")[0]
    return target, END if layer in WHOLE else layer, int(before or 0)


def _in_order(data: "pd.DataFrame") -> list[tuple[int, str]]:
    """(tokens before, layer) from left to right."""
    layers = [layer for layer in dict.fromkeys(data["layer"]) if layer != END]
    layers += [END] if END in set(data["layer"]) else []
    return [(n, layer) for n in sorted(set(data["before"]), reverse=True) for layer in layers]


def _tick(before: int, layer: str) -> str:
    """`core layer 1`, two tokens before the one that predicts: `core layer 1 −2`."""

    return f"{words.in_words(layer)} −{before}" if before else words.in_words(layer)


def _axis(columns: list[tuple[int, str]]) -> str:
    return "layer, −n: n tokens before" if any(n for n, _ in columns) else "layer"
