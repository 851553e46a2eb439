"""Knowledge against its use: held-out accuracy over bits per parameter, by architecture or load."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from experiments.analysis.drawing.panels import Facets, apart, seeds_caption, share_axis
from experiments.analysis.drawing.style import GREY, arm_looks
from experiments.analysis.drawing.versus import Against, Versus
from experiments.analysis.drawing.words import in_words
from experiments.analysis.figures.figure import (
    Figure,
    Need,
    OfBits,
    OfQuestions,
    Parts,
    Picture,
    Points,
    Results,
    Rows,
    measured,
)
from experiments.config.chosen_probes import measures
from experiments.errors import LoopscopeError
from experiments.results import selection

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from experiments.config.run import RunConfig

#: of the widest distance between two loads, so much room at both ends of the axis
ROOM = 0.06
#: what makes two models of different tasks the same architecture
ARCHITECTURE = ["k", "n_loops", "layers", "width"]
#: whose points are joined in order of loops
FAMILY = ["k", "layers", "width", "series"]
#: what makes a point
KEYS = ["panel", "series", "arm", *ARCHITECTURE]
QUANTITIES = ["bits_per_parameter", "accuracy"]
SAME_SHAPE = "runs of the same layers, loops, width and seed"
APART = "No mean of accuracies is drawn where seeds fall into two groups, only each seed."


class Plane(Figure):
    """One panel per world and difficulty; a point per architecture, joined in order of loops.

    `part` names the parts with questions, `capacity_part` those with stored facts. Runs meet by
    architecture and seed; their worlds and learning rates differ. Where runs have both, as those
    of a `mixture` of a store and of questions, each is a point of its own (at 0 where
    it stores nothing) and none are matched. Below the panels stands whose bits they are, and which
    architectures are left out because only one of the two is measured.
    """

    kind: Literal["plane"] = "plane"
    capacity_part: Parts = Field(None, description="None: all that measure capacity")
    capacity_where: dict[str, Any] = Field({}, description="filter of the capacity rows")
    split: str = Field("test", description="split of the questions")
    difficulty: int | tuple[int, ...] | None = Field(None, description="None: each part's hardest")

    def needs(self) -> tuple[Need, ...]:
        return (
            measured(*OfBits.probes, part=self.capacity_part),
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

    def data(self, results: Results) -> Rows:
        runs = selection.last_loop(results.runs)
        stored = self._capacity(runs)
        accuracy = self._accuracy(runs)
        at_once = set(stored["run_id"]) & set(accuracy["run_id"])
        if at_once:
            stored, accuracy = (rows[rows["run_id"].isin(at_once)] for rows in (stored, accuracy))
            stored = stored.assign(bits_per_parameter=stored["bits_per_parameter"].clip(lower=0.0))
            accuracy = accuracy.assign(panel=accuracy["questions"])
        else:
            stored, accuracy = (rows.drop(columns="run_id") for rows in (stored, accuracy))
        keys = ["run_id"] * bool(at_once) + [*ARCHITECTURE, "seed"]
        both = stored.merge(accuracy, on=keys, how="outer")
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
        both.attrs.update(left_out=alone, at_once=bool(at_once))
        return both

    def _capacity(self, runs: Rows) -> Rows:
        own = {"part": self.capacity_part, "where": self.capacity_where, "conditions": ()}
        figure = self.model_copy(update=own)
        rows = figure.select(runs, metric="bits_per_parameter", item="total")
        rows = rows.drop_duplicates("run_id")
        place = ["part", "task", "component"]
        stored_in = selection.joined(selection.panels_of(rows), selection.exposures_of(rows, place))
        rows = rows.assign(series=selection.series(rows, ARCHITECTURE, []), stored_in=stored_in)
        return rows.rename(columns={"value": "bits_per_parameter"})[
            ["run_id", *ARCHITECTURE, "seed", "arm", "series", "stored_in"]
            + ["bits_per_parameter", "ceiling"]
        ]

    def _accuracy(self, runs: Rows) -> Rows:
        rows = self.select(
            runs, metric="accuracy", item="", split=self.split, difficulty=self.difficulty
        )
        if self.difficulty is None:
            hardest = rows.groupby(["part", "component"])["difficulty"].transform("max")
            rows = rows[(rows["difficulty"] == hardest).fillna(True)]
        rows = rows.drop_duplicates(["run_id", "part", "component", "difficulty"])
        told = selection.series(rows, ["part", "component", "difficulty", *ARCHITECTURE], [])
        questions = selection.joined(selection.panels_of(rows), selection.difficulties_of(rows))
        rows = rows.assign(questions=questions, panel=selection.joined(questions, told))
        return rows.rename(columns={"value": "accuracy"})[
            ["run_id", *ARCHITECTURE, "seed", "arm", "questions", "panel", "accuracy", "floor"]
        ]

    def plot(self, data: Rows) -> Picture:
        from seaborn.objects import Dot, Path, Range

        cells = _cells(data)
        variants = list(dict.fromkeys(data["series"].dropna()))
        labels = ("bits per parameter", "held-out accuracy")
        x, y = (f"{quantity} mean" for quantity in QUANTITIES)
        variables = {"x": x, "y": y, "color": "arm", "marker": "arm"}
        drawn = Facets(data, labels, arm_looks(data), variants=variants, **variables)
        joins = {"group": "family", "color": None, "marker": None}
        drawn.add(Path(color=GREY, linewidth=0.8, marker=""), cells, **joins)
        several = cells[cells["accuracy n"] > 1]
        for across, along, of in zip("yx", "xy", QUANTITIES, strict=True):
            ends = {along: None, f"{along}min": f"{of} low", f"{along}max": f"{of} high"}
            drawn.add(Range(linewidth=0.9), several, orient=across, **ends)
        seeds = data.merge(several[[*KEYS, "apart"]], on=KEYS)
        drawn.add_seeds(seeds, x=QUANTITIES[0], y=QUANTITIES[1])
        drawn.add(Dot(pointsize=6), cells, fill="series")
        for axes, _ in drawn.draw():
            share_axis(axes)
            # from zero, so that a small difference of capacity looks small
            axes.set_xlim(min(0.0, axes.get_xlim()[0]), axes.get_xlim()[1])
        counts = data.groupby([*ARCHITECTURE, "panel"])["seed"].nunique()
        told = [seeds_caption(counts, "Points"), APART * bool(cells["apart"].any()), _origin(data)]
        return drawn.finish(self.title, told, linestyle="")


def _cells(data: Rows) -> Rows:
    """A row per point: means and intervals over seeds of both quantities, by loops."""
    data = data.assign(run_id=data["seed"])
    rows = data.melt([*KEYS, "run_id", "floor", "ceiling"], QUANTITIES, "metric")
    cells = selection.over_seeds(rows, [*KEYS, "metric"])
    values = ["mean", "low", "high", "n"]
    cells = cells.pivot(index=KEYS, columns="metric", values=values).astype(float)
    cells.columns = [f"{metric} {end}" for end, metric in cells.columns]
    nothing = cells["bits_per_parameter mean"] == 0  # by what it was shown, not by a measurement
    cells.loc[nothing, ["bits_per_parameter low", "bits_per_parameter high"]] = 0.0
    parted = data.groupby(KEYS, dropna=False)["accuracy"].agg(apart).rename("apart")
    cells = cells.join(parted).reset_index().sort_values("n_loops", kind="stable")
    cells.loc[cells["apart"], [f"accuracy {end}" for end in ("mean", "low", "high")]] = float("nan")
    return cells.assign(family=cells[FAMILY].map(str).agg(" ".join, axis=1))


def _shape(config: "RunConfig") -> tuple[int, int, int | None]:
    model = config.model
    return model.core, model.loops, getattr(model, "width", None)


def _origin(data: Rows) -> str:
    """Whose bits stand on x, and what is not drawn."""
    stored = "; ".join(dict.fromkeys(data["stored_in"].dropna()))
    same = "the same runs" if data.attrs.get("at_once") else SAME_SHAPE
    text = f"Bits: of {in_words(stored)}, in {same}."
    left_out = data.attrs.get("left_out")
    return f"{text} Not drawn, for want of one of the two: {left_out}." if left_out else text


def _architectures(rows: Rows) -> str:
    unique = rows[["arm", "width"]].drop_duplicates()
    return ", ".join(f"{arm} of width {width}" for arm, width in unique.itertuples(index=False))


def _stored_axis(axes: "Axes", values: Iterable[float]) -> None:
    """From zero, so that a small difference of what is stored looks small."""
    most = max(values, default=0.0) or 1.0
    axes.set_xlim(-ROOM * most, (1 + ROOM) * most)


class Crowding(OfQuestions, Versus):
    """One panel per part and difficulty, a line per arm: a model stores and answers at once.

    Both are of the same runs, such as of a `mixture` of a store and of questions, whose load
    an axis of the grid varies. A point is a load; it stands at the mean of what its seeds store,
    at 0 where they store nothing.
    """

    kind: Literal["crowding"] = "crowding"
    against = Against(
        "held-out accuracy",
        "stored",
        "bits per parameter stored",
        _stored_axis,
        bounded=True,
        aside=False,
    )
    component: str | None = Field(None, description="of the questions; None: all that have any")

    def needs(self) -> Sequence[Need]:
        told = (
            "is measured by accuracy and by a capacity probe; set observe.probes of a mixture to "
            "[{kind: accuracy}, {kind: capacity_biod}]"
        )
        return (Need(told, self._both, self.part),)

    def _both(self, config: "RunConfig") -> bool:
        asked = {"split": self.split, "difficulty": self.difficulty}
        return measures(config, "accuracy", **asked) and measures(config, *OfBits.probes)

    def data(self, results: Results) -> Rows:
        runs = selection.last_loop(results.runs)
        bits = self.select(runs, metric="bits_per_parameter", item="total")
        asked = {"component": self.component} if self.component else {}
        rows = self.accuracies(selection.where(runs, **asked))
        bits = bits.drop_duplicates(["run_id", "component"])  # a run may be in several parts
        stored = bits.groupby("run_id")["value"].sum().clip(lower=0.0)
        rows = rows[rows["run_id"].isin(stored.index)]
        if rows.empty:
            raise LoopscopeError(
                f"figure {self.kind}: no run has both bits per parameter and accuracy; train a "
                "mixture of a store and of questions"
            )
        rows = rows.assign(own=rows["run_id"].map(stored))
        place = [*selection.PLACE, "cell", "difficulty"]
        rows = rows.assign(stored=rows.groupby(place, dropna=False)["own"].transform("mean"))
        difficulty = selection.difficulties_of(rows)
        panel = selection.joined(selection.panels_of(rows), difficulty)
        return rows.assign(panel=panel, hue=rows["arm"], series="")
