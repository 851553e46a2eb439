"""A measured number by loop and layer, such as what the lens or a linear probe finds where."""

from typing import Any, Literal

from pydantic import Field

from experiments.analysis.drawing.panels import finish, names_of, seeds_caption
from experiments.analysis.drawing.style import points
from experiments.analysis.drawing.words import in_words
from experiments.analysis.figures.figure import (
    ByDifficulty,
    Need,
    Picture,
    Results,
    Rows,
    measured,
)
from experiments.errors import LoopscopeError
from experiments.results import selection

#: the state after all blocks of a loop, before the first loop the embedding
END = "end"
#: first word of a metric -> the probe that measures it
PROBES = {"lens": "lens", "probe": "linear", "follows": "interchange"}
WHOLE = ("", "embed", "state")


class HeatMap(ByDifficulty):
    """Loops downwards, layers to the right; a panel per target, difficulty and arm.

    Reads rows whose `item` is a target, or `target@core.0.loop.2`: the state after that block.
    Without a block it is the state at the end of the loop, loop 0 being the embedding. Layers of
    tokens further left (`target@core.0 -1`) stand further left. Cells hold the mean over seeds;
    their intervals are in the CSV.
    """

    kind: Literal["heat_map"] = "heat_map"
    metric: str = Field(
        "lens_accuracy", description="metric of the probe `lens`, `linear` or `interchange`"
    )
    target: str | tuple[str, ...] | None = Field(None, description="None: all")

    def needs(self) -> tuple[Need, ...]:
        kind = PROBES.get(self.metric.partition("_")[0])
        return () if kind is None else (measured(kind, difficulty=self.difficulty, part=self.part),)

    def data(self, results: Results) -> Rows:
        rows = self.select(results.runs, metric=self.metric, difficulty=self.difficulty)
        places = zip(*map(_place, rows["item"]), strict=True)
        rows = rows.assign(**dict(zip(("target", "layer", "before"), places, strict=True)))
        if self.target is not None:
            there = ", ".join(dict.fromkeys(rows["target"]))
            wanted = (self.target,) if isinstance(self.target, str) else self.target
            rows = rows[rows["target"].isin(wanted)]
            if rows.empty:
                raise LoopscopeError(f"figure {self.kind}: no target {self.target}; has {there}")
        rows = rows.sort_values(["difficulty", "target"], kind="stable")
        told = selection.series(rows, [*selection.PLACE, "arm", "difficulty", "item", "loop"], [])
        panels, hard = selection.panels_of(rows, tasks=False), selection.difficulties_of(rows)
        names = selection.joined(panels, rows["arm"], told, hard)
        both = zip(names, rows["target"], strict=True)
        panel = [name if target == "each" else f"{name}\n{target}" for name, target in both]
        by = ["panel", "target", "loop", "before", "layer"]
        cells = selection.over_seeds(rows.assign(panel=panel), by)
        floors = cells.groupby("panel")["floor"].transform("mean")
        told = floors.map(lambda floor: "" if floor != floor else f", floor {floor:.2f}")
        return cells.assign(panel=cells["panel"] + told)

    def plot(self, data: Rows) -> Picture:
        import matplotlib.pyplot as plt
        from seaborn import FacetGrid, heatmap

        data = data.assign(panel=data["panel"].map(in_words))
        names, columns = names_of(data), _in_order(data)
        per_target = len(names) // data["target"].nunique()
        wide = min(per_target if 1 < per_target < 5 else 3, len(names))
        share = bool(data["mean"].between(-1, 1).all())
        low, high = data["mean"].min(), data["mean"].max()
        size = (1.35 + 0.33 * len(columns), 0.9 + 0.24 * (data["loop"].nunique() + 1))
        grid = FacetGrid(data, col="panel", col_wrap=wide, height=size[1], aspect=size[0] / size[1])
        for axes in grid.axes:
            axes.set_visible(False)
        for (_, at, _), rows in grid.facet_data():
            # seaborn draws the whole picture for each heat map, to see whether its labels overlap:
            # what is not shown yet costs nothing
            grid.axes[at].set_visible(True)
            table = rows.pivot(index="loop", columns=["before", "layer"], values="mean")
            axes = heatmap(
                table.reindex(columns=columns).astype(float),
                vmin=min(0.0, low) if share else low,
                vmax=1.0 if share else high,
                cmap="cividis",  # even in grey, and the same to the colour-blind
                annot=True,
                fmt="z.2f" if share else ".3g",
                annot_kws={"fontsize": points(0.78)},
                xticklabels=_ticks(columns),
                cbar=False,
                ax=grid.axes[at],
            )
            for i in range(1, len(columns)):
                if columns[i][0] != columns[i - 1][0] and columns[i][1] != END:
                    axes.axvline(i, color="white", linewidth=4)
            axes.tick_params(axis="y", rotation=0)
            axes.grid(False)
            axes.set_visible(False)
        for axes in grid.axes:
            axes.set_visible(True)
        grid.set_axis_labels(_axis(columns), "loop")
        grid.set_titles("{col_name}")
        plt.close(grid.figure)  # no state of pyplot is left
        grid.figure.set_layout_engine("constrained")
        metric = in_words(self.metric)
        bar: dict[str, Any] = {"label": metric, "shrink": 0.8, "aspect": 30}
        grid.figure.colorbar(grid.axes[0].collections[0], ax=list(grid.axes), **bar)
        told = "Cells: means over seeds; their intervals are in the CSV beside the figure."
        told = seeds_caption([1]) if set(data["n"]) == {1} else told
        return finish(grid.figure, self.title or metric, [], [told])


def _place(item: str) -> tuple[str, str, int]:
    """(target, layer, tokens before the one that predicts the answer)."""
    target, _, rest = item.partition("@")
    name, _, before = rest.partition(" -")
    layer = name.partition(".loop.")[0]
    return target, END if layer in WHOLE else layer, int(before or 0)


def _in_order(data: Rows) -> list[tuple[int, str]]:
    """(tokens before, layer) from left to right."""
    layers = sorted(dict.fromkeys(data["layer"]), key=lambda layer: layer == END)
    return [(n, layer) for n in sorted(set(data["before"]), reverse=True) for layer in layers]


def _tick(before: int, layer: str) -> str:
    """`core layer 1`, two tokens before the one that predicts: `core layer 1 −2`."""
    return f"{in_words(layer)} −{before}" if before else in_words(layer)


def _ticks(columns: list[tuple[int, str]]) -> list[str]:
    if {layer for _, layer in columns} == {END}:
        return [f"−{before}" if before else "0" for before, _ in columns]
    return [_tick(*column) for column in columns]


def _axis(columns: list[tuple[int, str]]) -> str:
    if len(columns) > 1 and {layer for _, layer in columns} == {END}:
        return "token, 0: the one before the answer"
    return "layer, −n: n tokens before" if any(n for n, _ in columns) else "layer"
