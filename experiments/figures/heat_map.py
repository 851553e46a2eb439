"""A measured number by loop and layer, such as what the lens or a linear probe finds where."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.errors import LoopscopeError
from experiments.figures.figure import Figure, series

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

END = "end"
COLUMNS = 3


class HeatMap(Figure):
    """Loops downwards, layers to the right; a panel per target, difficulty and arm.

    Reads rows whose `item` is a target, or `target@core.0.loop.2`: the state after that block.
    Without a block it is the state at the end of the loop. Cells hold the mean over seeds; their
    intervals are in the CSV.
    """

    kind: Literal["heat_map"] = "heat_map"
    metric: str = "lens_accuracy"
    target: str | tuple[str, ...] | None = Field(None, description="None: all")
    difficulty: int | tuple[int, ...] | None = Field(None, description="None: all")

    def data(self, out: Path, grid: str | None) -> "pd.DataFrame":
        from experiments.results import load_runs
        from experiments.summary import difficulty_text, over_seeds

        rows = self.select(load_runs(out, grid), metric=self.metric, difficulty=self.difficulty)
        places = [item.partition("@") for item in rows["item"]]
        layers = [name.partition(".loop.")[0] or END for _, _, name in places]
        rows = rows.assign(target=[target for target, _, _ in places], layer=layers)
        wanted = (self.target,) if isinstance(self.target, str) else self.target
        if wanted is not None:
            there = ", ".join(dict.fromkeys(rows["target"]))
            rows = rows[rows["target"].isin(wanted)]
            if rows.empty:
                raise LoopscopeError(f"figure {self.kind}: no target {self.target}; has {there}")
        rows = rows.sort_values(["difficulty", "target"], kind="stable")
        told = series(rows, ["part", "arm", "difficulty", "item", "loop"], [])
        names = zip(
            *(rows[c] for c in ("part", "arm", "task", "difficulty", "target")), told, strict=True
        )
        panel = [
            ", ".join(filter(None, (part, arm, text, difficulty_text(task, d)))) + f"\n{target}"
            for part, arm, task, d, target, text in names
        ]
        cells = over_seeds(rows.assign(panel=panel), ["panel", "target", "loop", "layer"])
        floor = cells.groupby("panel")["floor"].transform("mean")
        told = zip(cells["panel"], floor, strict=True)
        return cells.assign(panel=[p if f != f else f"{p}, floor {f:.2f}" for p, f in told])

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from seaborn import heatmap

        from experiments.figures.drawing import panels, seeds_note

        names = list(dict.fromkeys(data["panel"]))
        columns = [c for c in dict.fromkeys(data["layer"]) if c != END]
        columns += [END] if END in set(data["layer"]) else []
        picture, grid = panels(names, "layer", "loop", columns=COLUMNS)
        share = data["mean"].between(0, 1).all()
        low, high = (0.0, 1.0) if share else (data["mean"].min(), data["mean"].max())
        for i, (axes, name) in enumerate(zip(grid, names, strict=True)):
            rows = data[data["panel"] == name]
            table = rows.pivot(index="loop", columns="layer", values="mean")
            heatmap(
                table.reindex(columns=columns).astype(float),
                vmin=low,
                vmax=high,
                cmap="cividis",  # even in grey, and the same to the colour-blind
                annot=True,
                fmt=".2f" if share else ".3g",
                annot_kws={"fontsize": 7},
                cbar=False,
                ax=axes,
            )
            axes.set(xlabel="layer", ylabel="" if i % COLUMNS else "loop")
            axes.tick_params(axis="y", rotation=0)
            axes.grid(False)
        metric = self.metric.replace("_", " ")
        picture.suptitle(f"{self.title}: {metric}" if self.title else metric, fontsize=10.5)
        seeds_note(picture, data["n"], shown=" (in the CSV)")
        return picture
