"""The results as tables for a terminal or a README: a row per arm, seeds summarised.

Every number stands with its floor or ceiling and with its seeds, and every run that is not done
is named with its reason.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.analysis.tables.abilities import capacity_table, unfinished_table
from experiments.analysis.tables.exits import exits_table
from experiments.analysis.tables.questions import accuracy_table, emergence_table, property_table
from experiments.errors import LoopscopeError
from experiments.results.long_table import Data, Results, read_results
from experiments.results.row_filter import MEASURED, check_columns, parse, select
from experiments.results.selection import last_loop
from experiments.text import TextTable

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

#: least width of tables, so that names are not folded for a few characters
WIDTH = 80


def tables(runs: "pd.DataFrame", curves: "pd.DataFrame", by: Sequence[str] = ()) -> list[TextTable]:
    """Per grid and part a table for each ability measured, then one of the runs not done.

    Args:
        runs, curves: from `load_runs` and `load_curves`.
        by: columns of runs, of whose values each has a row; none: arms, and whatever else differs.
    """
    found: list[TextTable | None] = []
    several = runs["grid"].nunique() > 1
    for (grid, part), rows in runs.groupby(["grid", "part"], sort=False):
        title = str(part or grid or "runs")
        if several and part:  # grids may have parts of one name
            title = f"{grid or 'no grid'}, {part}"
        done = last_loop(rows[rows["status"] == "done"])
        trained = curves[(curves["grid"] == grid) & (curves["part"] == part)]
        for name in dict.fromkeys([*done["component"], *trained["component"]]):
            whole = ", ".join(filter(None, (title, name)))
            of_one = done[done["component"] == name]
            found += [capacity_table(whole, of_one, by), accuracy_table(whole, of_one, by)]
            found += [property_table(whole, of_one, by), exits_table(whole, of_one, by)]
            learned = trained[trained["component"] == name]
            found.append(emergence_table(whole, last_loop(learned), by))
    return [table for table in [*found, unfinished_table(runs, curves)] if table is not None]


def print_table(
    out: Data = "runs",
    grid: str | None = None,
    console: "Console | None" = None,
    *,
    where: Sequence[str] = (),
    by: Sequence[str] = (),
    wide: bool = True,
) -> None:
    """Prints the tables of a grid (or of all runs in `out`), 80 columns wide or more.

    On a narrower terminal lines run over; no digit is left out.

    Args:
        out: a folder or an archive, or what `read_results` read of it.
        where: conditions on rows, see `experiments.results.row_filter`.
        by: the `by` of `tables`.
        wide: every column, however narrow the terminal; else what it has no room for is named
            below.

    Raises:
        LoopscopeError: `out` is no folder of runs, or has no such grid or rows.
    """
    from rich.console import Console

    if console is None:
        console = Console()
        console = Console(width=max(console.width, WIDTH))
    results = read_results(out, grid)
    found = chosen_tables(results, where, by)
    for table in found:
        (table if wide else table.within(console.width)).draw(console)
    if not found:
        console.print(_why_none(results))


def markdown_table(
    out: Data = "runs",
    grid: str | None = None,
    *,
    where: Sequence[str] = (),
    by: Sequence[str] = (),
) -> str:
    """The same tables in Markdown.

    Raises:
        LoopscopeError: `out` is no folder of runs, or has no such grid or rows.
    """
    results = read_results(out, grid)
    found = chosen_tables(results, where, by)
    return "\n\n".join(table.markdown() for table in found) or _why_none(results)


def _why_none(results: Results) -> str:
    """The sentence that stands in place of tables."""
    if results.runs.empty:
        return f"{results.name} has no runs yet"
    measured = ", ".join(results.runs["metric"].dropna().unique()) or "nothing"
    return (
        f"no table shows what the runs in {results.name} measured ({measured}); "
        "`load_runs` has these rows, and `loopscope list figures` says what can be drawn of them"
    )


def chosen_tables(results: Results, where: Sequence[str], by: Sequence[str]) -> list[TextTable]:
    """The tables of the rows that meet the conditions.

    Raises:
        LoopscopeError: there are no such rows or columns.
    """
    runs = results.runs
    check_columns(runs, by, f"--by {','.join(by)}")
    if measured := [column for column in by if column in MEASURED]:
        raise LoopscopeError(f"--by {measured[0]}: rows are of runs; --where chooses numbers")
    conditions = parse(where)
    chosen = select(runs, conditions)
    if chosen.empty and not runs.empty:
        raise LoopscopeError(f"{results.name} has no rows with {', '.join(map(str, conditions))}")
    return tables(chosen, select(results.curves, conditions), by)
