"""One HTML file that holds everything and asks nothing of any network."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.analysis.html import filled, page_target, text_of, write_page
from experiments.analysis.report.environments import environment_table
from experiments.analysis.report.figures import drawn
from experiments.analysis.report.grids import Shipped, asked, in_order
from experiments.analysis.report.tables import LONG, columns_of_words, data_value, run_tables
from experiments.analysis.report.verdicts import (
    QUESTION,
    answers,
    check_hypotheses,
    first_with_verdicts,
    judged,
)
from experiments.analysis.tables.abilities import unfinished_table
from experiments.analysis.tables.tables import tables
from experiments.errors import LoopscopeError
from experiments.results.long_table import Results, read_results
from experiments.results.source import Source, open_source
from experiments.runs.reference import is_reference, name_of
from experiments.runs.schema_version import release

#: the package of the page's files
HERE = "experiments.analysis.report"


def write_report(
    out: Path | str = "runs",
    grid: str | None = None,
    path: Path | str | None = None,
    hypotheses: tuple[str, ...] = QUESTION,
    shipped: Callable[[str], Shipped | None] = lambda name: None,
    notify: Callable[[Results], None] = lambda results: None,
) -> Path:
    """Writes the page about a grid, or about all in `out`; the same results give the same bytes.

    Args:
        path: of the file; None: report.html in `out`, beside it where it is an archive.
        hypotheses: names in `verdicts.HYPOTHESES`.
        shipped: the grid of a name that comes with loopscope.
        notify: is given what the page is made of.

    Returns:
        The path.

    Raises:
        LoopscopeError: `out` is no folder of runs, has no such grid or no runs, there is no such
            hypothesis, or no folder for the file.
    """
    check_hypotheses(hypotheses)
    source = open_source(out)
    place = source.path
    folder = source.made or (place if place.is_dir() else place.parent)
    target = folder / "report.html" if path is None else Path(path)
    page_target(target, "--file")
    return write_page(page(source, grid, hypotheses, shipped, notify), target)


def page(
    source: Source,
    grid: str | None,
    hypotheses: tuple[str, ...],
    shipped: Callable[[str], Shipped | None],
    notify: Callable[[Results], None] = lambda results: None,
) -> str:
    """The HTML of the report.

    Raises:
        LoopscopeError: as `write_report`.
    """
    shown, results = name_of(source.path), read_results(source, grid)
    runs = results.runs
    if runs.empty:
        raise LoopscopeError(f"{shown} has no runs yet; `loopscope run GRID` trains some")
    names = in_order(name for name in dict.fromkeys(runs["grid"]) if name)
    grids = [asked(name, source.grids[name], shipped(name)) for name in names]
    sections = []
    for i, one in enumerate(grids, 1):
        title = one.title or one.name if len(grids) > 1 else "The question"
        its = read_results(source, one.name)
        sections.append(
            _section(results, one.name, anchor=f"grid-{i}", title=title, asked=one)
            | {
                "verdicts": (verdicts := first_with_verdicts(judged(its, n) for n in hypotheses)),
                "answers": answers(verdicts),
                "figures": drawn(its, one.figures),
            }
        )
    if (runs["grid"] == "").any():
        title = "Runs outside every grid"
        sections.append(_section(results, "", anchor="no-grid", title=title, asked=None))
    notify(results)
    return render(
        title=grids[0].title or grids[0].name if len(grids) == 1 else f"Results in {shown}",
        out=shown,
        own=f"runs/{source.path.stem}" if is_reference(shown) else shown,
        n_runs=runs["run_id"].nunique(),
        sections=sections,
        unfinished=unfinished_table(runs, results.curves),
        environments=environment_table(source.environments(runs["run_id"])),
    )


def _section(results: Results, grid: str, **content: Any) -> dict[str, Any]:
    """What a section says of the runs of a grid, or of those outside every grid."""
    runs, curves = (rows[rows["grid"] == grid] for rows in (results.runs, results.curves))
    done = runs[runs["status"] == "done"]
    return content | {
        "n_runs": runs["run_id"].nunique(),
        "done": list(done["run_id"].unique()),
        "tables": tables(done, curves),
        "run_tables": run_tables(runs),
    }


def render(template: str = "page.html", package: str = HERE, **content: Any) -> str:
    """The page around its content; its own style and script are the only ones it allows to run.

    Text is escaped, and characters that cannot stand in a page become U+FFFD.

    Args:
        template: file in a package, which extends `base.html`.
    """

    def load(name: str) -> str:
        return text_of(package if name == template else HERE, name)

    return filled(
        load(template),
        load("page.css"),
        load("page.js"),
        load,
        **content,
        version=release(),
        command=shlex.join,
        python=repr,
        data_value=data_value,
        columns_of_words=columns_of_words,
        LONG=LONG,
    )
