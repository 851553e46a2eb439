"""Runs of references that a record has: nobody needs to train them again."""

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.grid.grid import Grid, GridPoint
from experiments.results.long_table import Results, read_results
from experiments.suite.entry import shipped
from experiments.suite.grid import name_of
from experiments.suite.references import MODEL

if TYPE_CHECKING:
    import pandas as pd

RUNS = "runs.zip"
#: what tells places in a grid apart
PLACE = ["run_id", "part", "arm"]


def recorded_runs(name: str, size: str) -> Results | None:
    """The runs of a record at a size, its references' among them; None where they are not here."""
    known = shipped()
    archive = known[name].parent / size / RUNS if name in known else None
    return read_results(archive, name_of(name)) if archive and archive.is_file() else None


def recorded_points(grid: Grid, recorded: Results) -> list[GridPoint]:
    """The places of references in a grid whose runs a record has done."""
    runs = recorded.runs
    done = set(runs[runs["status"] == "done"][PLACE].itertuples(index=False, name=None))
    return [p for p in grid.points if p.labels["arm"] != MODEL and _place(p) in done]


def without(grid: Grid, points: Collection[GridPoint]) -> Grid:
    """A grid without some of its places."""
    places = set(map(_place, points))
    return replace(grid, points=tuple(p for p in grid.points if _place(p) not in places))


def with_recorded(results: Results, recorded: Results, points: Collection[GridPoint]) -> Results:
    """Results, and those of a record at these places."""
    import pandas as pd

    places, ids = set(map(_place, points)), {p.run_id for p in points}

    def joined(own: "pd.DataFrame", others: "pd.DataFrame") -> "pd.DataFrame":
        chosen = others[pd.MultiIndex.from_frame(others[PLACE]).isin(places)]
        rows = pd.concat([own, chosen.assign(grid=results.grid)], ignore_index=True)
        rows.attrs = dict(own.attrs)
        return rows

    return replace(
        results,
        runs=joined(results.runs, recorded.runs),
        make_curves=lambda: joined(results.curves, recorded.curves),
        config=lambda run_id: (recorded if run_id in ids else results).config(run_id),
    )


def _place(point: GridPoint) -> tuple[str, str, str]:
    return point.run_id, point.part, point.labels["arm"]
