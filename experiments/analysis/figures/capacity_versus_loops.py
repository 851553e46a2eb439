"""Bits stored per parameter against loops, people or the bits left of every weight."""

import re
from typing import TYPE_CHECKING, Literal

from experiments.analysis.drawing.panels import numbers_axis
from experiments.analysis.drawing.versus import Against, Versus
from experiments.analysis.figures.figure import Need, OfBits, Results, Rows
from experiments.errors import LoopscopeError
from experiments.results import selection
from experiments.text import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes

    from experiments.config.run import RunConfig

#: bits of a weight as it was trained, whatever the precision of its products
UNROUNDED = 32
#: bits per parameter below 0 that are still drawn
LEAST_SHOWN = 0.25
#: bits by which weights as trained stand to the right of the most finely rounded ones
ASIDE = 1.5


class CapacityVersusLoops(OfBits, Versus):
    """One panel per part; colour tells apart k, width, exposures and the items shown."""

    kind: Literal["capacity_versus_loops"] = "capacity_versus_loops"
    against = Against("bits per parameter")

    def data(self, results: Results) -> Rows:
        rows = self.bits(results)
        told = self.with_items(selection.series_over_loops(rows, selection.PLACE), rows)
        panel = selection.joined(
            selection.panels_of(rows), selection.exposures_of(rows, selection.PLACE)
        )
        return rows.assign(panel=panel, hue=told, series="")


class CapacityVersusPeople(OfBits, Versus):
    """One panel per part, colours by arm; a dotted line is every bit there is to store.

    People are read from the config of each run, so that any axis may vary them, alone or with
    the exposures, as in a grid that holds the number of biographies fixed.
    """

    kind: Literal["capacity_versus_people"] = "capacity_versus_people"
    against = Against("bits per parameter", "people", "people", numbers_axis, aside=False)

    def data(self, results: Results) -> Rows:
        rows = self.bits(results)
        tasks = {run_id: results.config(run_id).task for run_id in rows["run_id"].unique()}
        people = {run_id: getattr(task, "people", None) for run_id, task in tasks.items()}
        rows = rows.assign(people=rows["run_id"].map(people).astype(float))
        rows = rows[rows["people"].notna()]
        if rows.empty:
            raise LoopscopeError(f"figure {self.kind}: these tasks have no number of people")
        told = selection.series(rows, [*selection.PLACE, "arm", "people", "item"], [])
        told = self.with_items(told, rows)
        return rows.assign(panel=selection.panels_of(rows), hue=rows["arm"], series=told)


def _bits_axis(axes: "Axes", values: "Iterable[float]") -> None:
    """Bits of a weight, the weights as trained beside them, and bits per parameter from 0."""
    *rounded, whole = sorted(set(values))
    axes.set_xticks([*rounded, whole], [*map(number, rounded), str(UNROUNDED)])
    axes.set_xlim(rounded[0] - 0.4, whole + 0.4)
    axes.set_ylim(-LEAST_SHOWN, axes.get_ylim()[1])


class CapacityVersusRounding(OfBits, Versus):
    """One panel per part, colours by arm: what weights rounded to few bits still store.

    At 32 stands what the weights store as they were trained, at every other number what they
    store rounded to so many bits each (`bits` of the capacity probes). Numbers of bits that leave
    no model anything are not drawn.
    """

    kind: Literal["capacity_versus_rounding"] = "capacity_versus_rounding"
    against = Against(
        "bits per parameter",
        "place",
        "bits of a weight",
        _bits_axis,
        ceiling=False,
        aside=False,
        caption="Below 0 a model is worse than one that knows nothing; panels end near it.",
    )

    def needs(self) -> "Sequence[Need]":
        told = (
            "is measured after rounding; set observe.probes to [{kind: capacity_biod, "
            "bits: [8, 6, 4]}] or more, of a task that it applies to"
        )
        return *super().needs(), Need(told, _rounds, self.part)

    def data(self, results: Results) -> Rows:
        metrics = {str(name): rounded_to(str(name)) for name in results.runs["metric"].unique()}
        rows = self.bits(results, [metric for metric, bits in metrics.items() if bits])
        rows = rows.assign(bits=rows["metric"].map(metrics).astype(float))
        rows = rows[rows.groupby("bits")["value"].transform("max") > 0]
        rounded = rows.loc[rows["bits"] != UNROUNDED, "bits"]
        if rounded.empty:
            raise LoopscopeError(
                f"figure {self.kind}: no results are left, or none were measured after rounding; "
                "give the capacity probe bits, such as `bits: [8, 6, 4]`"
            )
        panel = selection.joined(
            selection.panels_of(rows), selection.exposures_of(rows, selection.PLACE)
        )
        given = [*selection.PLACE, "arm", "bits", "item"]
        told = self.with_items(selection.series(rows, given, []), rows)
        place = rows["bits"].clip(upper=rounded.max() + ASIDE)
        return rows.assign(panel=panel, hue=rows["arm"], series=told, floor=0.0, place=place)


def _rounds(config: "RunConfig") -> bool:
    return any(getattr(probe, "bits", ()) for probe in config.observe.probes or ())


def rounded_to(metric: str) -> int | None:
    """Bits of a weight by which bits per parameter were measured, None of other metrics.

    >>> rounded_to("bits_per_parameter_int6"), rounded_to("bits_per_parameter"), rounded_to("bits")
    (6, 32, None)
    """
    found = re.fullmatch(r"bits_per_parameter(?:_int(\d+))?", metric)
    return int(found[1] or UNROUNDED) if found else None
