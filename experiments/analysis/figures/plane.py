"""Knowledge against its use: bits per parameter on x, held-out accuracy on y, per architecture."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.analysis.figures.figure import CAPACITY, Figure, Need, Parts, Points, measured
from experiments.errors import LoopscopeError
from experiments.results.selection import series

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

    from experiments.config.run import RunConfig
    from experiments.results.long_table import Results

#: what makes two models of different tasks the same architecture
ARCHITECTURE = ["k", "n_loops", "layers", "width"]


class Plane(Figure):
    """One panel per world and difficulty; a point per architecture, joined in order of loops.

    `part` names the parts with questions, `capacity_part` those with stored facts. Runs meet by
    architecture and seed; their worlds and learning rates differ. Below the panels stands whose
    bits they are, and which architectures are left out because only one of the two is measured.
    """

    kind: Literal["plane"] = "plane"
    capacity_part: Parts = Field(None, description="None: all that measure capacity")
    capacity_where: dict[str, Any] = Field({}, description="filter of the capacity rows")
    split: str = Field("test", description="split of the questions")
    difficulty: int | tuple[int, ...] | None = Field(None, description="None: each part's hardest")

    def needs(self) -> tuple[Need, ...]:
        return (
            measured(*CAPACITY, part=self.capacity_part),
            measured("accuracy", split=self.split, difficulty=self.difficulty, part=self.part),
        )

    def missing(self, points: Points) -> Iterator[str]:
        lacking = list(super().missing(points))
        yield from lacking
        if lacking:
            return
        shapes = [
            {_shape(config) for part, config in points if need.met_in([(part, config)])}
            for need in self.needs()
        ]
        if shapes[0].isdisjoint(shapes[1]):
            yield "no architecture (layers, loops and width) is measured by both of its probes"

    def data(self, results: "Results") -> "pd.DataFrame":
        from experiments.results.selection import last_loop

        runs = last_loop(results.runs)
        stored = self._capacity(runs)
        accuracy = self._accuracy(runs)
        both = stored.merge(accuracy, on=[*ARCHITECTURE, "seed"], how="outer")
        counts = both.groupby(ARCHITECTURE)[["bits_per_parameter", "accuracy"]].transform("count")
        matched = (counts > 0).all(axis=1)
        unmatched = both[~matched]
        alone = _architectures(
            unmatched.assign(arm=unmatched["arm_x"].combine_first(unmatched["arm_y"]))
        )
        both = both[matched]
        if both.empty:
            raise LoopscopeError(
                "figure plane: no architecture has both bits per parameter and accuracy; "
                f"capacity has {_architectures(stored)}; accuracy has {_architectures(accuracy)}"
            )
        both["arm"] = both["arm_x"].combine_first(both["arm_y"])
        both = both.drop(columns=["arm_x", "arm_y"])
        both.attrs["left_out"] = alone
        return both

    def _capacity(self, runs: "pd.DataFrame") -> "pd.DataFrame":
        from experiments.results.selection import exposures_of, joined, panels_of

        own = {"part": self.capacity_part, "where": self.capacity_where, "conditions": ()}
        figure = self.model_copy(update=own)
        rows = figure.select(runs, metric="bits_per_parameter", item="total")
        rows = rows.drop_duplicates("run_id")
        place = ["part", "task", "component"]
        stored_in = joined(panels_of(rows), exposures_of(rows, place))
        rows = rows.assign(series=series(rows, ARCHITECTURE, []), stored_in=stored_in)
        return rows.rename(columns={"value": "bits_per_parameter"})[
            [*ARCHITECTURE, "seed", "arm", "series", "stored_in", "bits_per_parameter", "ceiling"]
        ]

    def _accuracy(self, runs: "pd.DataFrame") -> "pd.DataFrame":
        from experiments.results.selection import difficulties_of, joined, panels_of

        rows = self.select(
            runs, metric="accuracy", item="", split=self.split, difficulty=self.difficulty
        )
        if self.difficulty is None:
            hardest = rows.groupby(["part", "component"])["difficulty"].transform("max")
            rows = rows[(rows["difficulty"] == hardest).fillna(True)]
        rows = rows.drop_duplicates(["run_id", "part", "component", "difficulty"])
        told = series(rows, ["part", "component", "difficulty", *ARCHITECTURE], [])
        panel = joined(panels_of(rows), difficulties_of(rows), told)
        return rows.assign(panel=panel).rename(columns={"value": "accuracy"})[
            [*ARCHITECTURE, "seed", "arm", "panel", "accuracy", "floor"]
        ]

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from experiments.analysis.drawing.style import (
            FLOOR,
            GREY,
            legend,
            look,
            panels,
            seeds_note,
        )

        looks = look(data.sort_values(ARCHITECTURE)["arm"])
        filled = {text: i == 0 for i, text in enumerate(dict.fromkeys(data["series"].dropna()))}
        names = list(dict.fromkeys(data["panel"].dropna()))
        picture, grid = panels(names, "bits per parameter", "held-out accuracy")
        for axes, name in zip(grid, names, strict=True):
            rows = data[data["panel"] == name]
            for text in filled:
                _plot_series(axes, rows[rows["series"] == text], looks, filled[text])
            axes.axhline(rows["floor"].mean(), color=GREY, **FLOOR)
            axes.set_ylim(-0.03, 1.08)
            # from zero, so that a small difference of capacity looks small
            low, high = axes.get_xlim()
            axes.set_xlim(min(0.0, low), high + 0.06 * (high - min(0.0, low)))
        entries: list[tuple[str, dict[str, Any]]] = [
            (arm, {"color": colour, "marker": marker, "linestyle": ""})
            for arm, (colour, marker) in looks.items()
        ]
        for text, full in filled.items() if len(filled) > 1 else ():
            face = {"markerfacecolor": GREY if full else "white"}
            entries.append((text, {"color": GREY, "marker": "o", "linestyle": "", **face}))
        if self.title:
            picture.suptitle(self.title, fontsize=10.5)
        legend(picture, [*entries, ("floor", {"color": GREY, **FLOOR})])
        seeds = data.groupby([*ARCHITECTURE, "panel"])["seed"].nunique()
        seeds_note(picture, seeds, more=_origin(data))
        return picture


def _shape(config: "RunConfig") -> tuple[int, int, int | None]:
    model = config.model
    return model.core, model.loops, getattr(model, "width", None)


def _origin(data: "pd.DataFrame") -> str:
    """Whose bits stand on x, and what is not drawn."""
    stored = "; ".join(dict.fromkeys(data["stored_in"].dropna()))
    text = f"x: {stored}, the runs with the layers, loops, width and seed of y's"
    left_out = data.attrs.get("left_out")
    return f"{text}; only one of the two measured, not drawn: {left_out}" if left_out else text


def _architectures(rows: "pd.DataFrame") -> str:
    unique = rows[["arm", "width"]].drop_duplicates()
    return ", ".join(f"{arm} of width {width}" for arm, width in unique.itertuples(index=False))


def _plot_series(
    axes: "Axes", rows: "pd.DataFrame", looks: dict[Any, tuple[str, str]], filled: bool
) -> None:
    """Means with a cross of intervals, seeds faint; a grey line joins equal layers by loops."""
    from experiments.analysis.drawing.style import GREY, bars
    from experiments.results.selection import summary_of

    for _, family in rows.groupby(["k", "layers", "width"], sort=False):
        means = []
        for _, cell in family.groupby("n_loops"):
            colour, marker = looks[cell["arm"].iloc[0]]
            x, y = (summary_of(cell, of) for of in ("bits_per_parameter", "accuracy"))
            means.append((x.mean, y.mean))
            if max(x.n, y.n) > 1:
                points = cell["bits_per_parameter"], cell["accuracy"]
                axes.scatter(*points, s=14, color=colour, alpha=0.35, linewidths=0)
            axes.errorbar(
                x.mean,
                y.mean,
                xerr=bars(x),
                yerr=bars(y),
                color=colour,
                marker=marker,
                markersize=6,
                markerfacecolor=colour if filled else "white",
                elinewidth=0.9,
            )
        axes.plot(*zip(*means, strict=True), color=GREY, linewidth=0.8, zorder=1)
