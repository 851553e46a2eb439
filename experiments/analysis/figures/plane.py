"""Knowledge against its use: bits per parameter on x, held-out accuracy on y, per architecture."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.analysis.drawing import panels, style, words
from experiments.analysis.figures.figure import CAPACITY, Figure, Need, Parts, Points, measured
from experiments.errors import LoopscopeError
from experiments.results import selection

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture

    from experiments.config.run import RunConfig
    from experiments.results.long_table import Results

#: what makes two models of different tasks the same architecture
ARCHITECTURE = ["k", "n_loops", "layers", "width"]
#: what makes a point
KEYS = ["panel", "series", "arm", *ARCHITECTURE]
APART = "No mean of accuracies is drawn where seeds fall into two groups, only each seed."


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
        runs = selection.last_loop(results.runs)
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
        own = {"part": self.capacity_part, "where": self.capacity_where, "conditions": ()}
        figure = self.model_copy(update=own)
        rows = figure.select(runs, metric="bits_per_parameter", item="total")
        rows = rows.drop_duplicates("run_id")
        place = ["part", "task", "component"]
        stored_in = selection.joined(selection.panels_of(rows), selection.exposures_of(rows, place))
        rows = rows.assign(series=selection.series(rows, ARCHITECTURE, []), stored_in=stored_in)
        return rows.rename(columns={"value": "bits_per_parameter"})[
            [*ARCHITECTURE, "seed", "arm", "series", "stored_in", "bits_per_parameter", "ceiling"]
        ]

    def _accuracy(self, runs: "pd.DataFrame") -> "pd.DataFrame":
        rows = self.select(
            runs, metric="accuracy", item="", split=self.split, difficulty=self.difficulty
        )
        if self.difficulty is None:
            hardest = rows.groupby(["part", "component"])["difficulty"].transform("max")
            rows = rows[(rows["difficulty"] == hardest).fillna(True)]
        rows = rows.drop_duplicates(["run_id", "part", "component", "difficulty"])
        told = selection.series(rows, ["part", "component", "difficulty", *ARCHITECTURE], [])
        panel = selection.joined(selection.panels_of(rows), selection.difficulties_of(rows), told)
        return rows.assign(panel=panel).rename(columns={"value": "accuracy"})[
            [*ARCHITECTURE, "seed", "arm", "panel", "accuracy", "floor"]
        ]

    def plot(self, data: "pd.DataFrame") -> "Picture":
        from seaborn.objects import Dot, Path, Range

        looks = style.arm_looks(data)
        variants = list(dict.fromkeys(data["series"].dropna()))
        cells = _cells(data)
        labels = ("bits per parameter", "held-out accuracy")
        variables = {"x": "bits", "y": "right", "color": "arm", "marker": "arm"}
        drawn = panels.Facets(panels.names_of(cells), labels, looks, **variables)
        joins = {"group": "family", "color": None, "marker": None}
        drawn.add(Path(color=style.GREY, linewidth=0.8, marker=""), cells, **joins)
        several = cells[cells["n"] > 1]
        for across, along in ("xy", "yx"):
            ends = {along: None, f"{along}min": f"{along}low", f"{along}max": f"{along}high"}
            drawn.add(Range(linewidth=0.9), several, orient=across, **ends)
        seeds = data.merge(several[[*KEYS, "alone"]], on=KEYS)
        for alone in (False, True):
            place = {"x": "bits_per_parameter", "y": "accuracy"}
            drawn.add(panels.faint(alone), seeds[seeds["alone"] == alone], **place)
        for i, variant in enumerate(variants):
            mark = Dot(pointsize=6, fill=i % 2 == 0)
            drawn.add(mark, cells[cells["series"] == variant])
        for axes, name in drawn.draw():
            axes.axhline(
                data[data["panel"] == name]["floor"].mean(), color=style.GREY, **style.FLOOR
            )
            panels.share_axis(axes)
            # from zero, so that a small difference of capacity looks small
            low, high = axes.get_xlim()
            axes.set_xlim(min(0.0, low), high)
        shown = panels.entries(looks, linestyle="")
        for i, text in enumerate(variants if len(variants) > 1 else ()):
            face = {"markerfacecolor": "white" if i % 2 else style.GREY}
            shown.append((text, {"color": style.GREY, "marker": "o", "linestyle": "", **face}))
        counts = data.groupby([*ARCHITECTURE, "panel"])["seed"].nunique()
        told = [panels.seeds_caption(counts, "Points"), _origin(data)]
        if cells["alone"].any():
            told.insert(1, APART)
        return panels.finish(drawn.picture, self.title, [*shown, panels.FLOOR_ENTRY], told)


def _cells(data: "pd.DataFrame") -> "pd.DataFrame":
    """A row per point: means and intervals over seeds of both quantities, by loops."""

    data = data.assign(run_id=data["seed"])
    both = {}
    for along, column in (("x", "bits_per_parameter"), ("y", "accuracy")):
        ends = {"low": f"{along}low", "high": f"{along}high"}
        rows = data.rename(columns={column: "value"}).assign(metric=column)
        both[along] = selection.over_seeds(rows, KEYS).rename(columns=ends)
    means = both["y"].rename(columns={"mean": "right"})
    found = both["x"].rename(columns={"mean": "bits"}).drop(columns="n")
    found = found.merge(means[[*KEYS, "right", "ylow", "yhigh", "n"]], on=KEYS)
    alone = data.groupby(KEYS)["accuracy"].agg(panels.apart).rename("alone")
    found = found.merge(alone, on=KEYS)
    found.loc[found["alone"], ["right", "ylow", "yhigh"]] = float("nan")
    keys = zip(found["k"], found["layers"], found["width"], found["series"], strict=True)
    found = found.assign(family=list(map(str, keys))).sort_values("n_loops", kind="stable")
    found.attrs = data.attrs
    return found


def _shape(config: "RunConfig") -> tuple[int, int, int | None]:
    model = config.model
    return model.core, model.loops, getattr(model, "width", None)


def _origin(data: "pd.DataFrame") -> str:
    """Whose bits stand on x, and what is not drawn."""
    stored = "; ".join(dict.fromkeys(data["stored_in"].dropna()))
    text = f"Bits: of {words.in_words(stored)}, in runs of the same layers, loops, width and seed."
    left_out = data.attrs.get("left_out")
    return f"{text} Not drawn, for want of one of the two: {left_out}." if left_out else text


def _architectures(rows: "pd.DataFrame") -> str:
    unique = rows[["arm", "width"]].drop_duplicates()
    return ", ".join(f"{arm} of width {width}" for arm, width in unique.itertuples(index=False))
