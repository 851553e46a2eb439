"""What knowing costs computing: held-out accuracy against the bits that the same models store."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from experiments.analysis.drawing.versus import Against, Versus
from experiments.analysis.figures.figure import Need, OfBits, OfQuestions, Results, Rows
from experiments.config.chosen_probes import measures
from experiments.errors import LoopscopeError
from experiments.results import selection

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from experiments.config.run import RunConfig

#: of the widest distance between two loads, so much room at both ends of the axis
ROOM = 0.06


def _stored_axis(axes: "Axes", values: Iterable[float]) -> None:
    """From zero, so that a small difference of what is stored looks small."""
    most = max(values, default=0.0)
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
