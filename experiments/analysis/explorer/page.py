"""The explorer: one HTML file in which results can be touched, without any network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from experiments.analysis.explorer.data import explorer_data, typed
from experiments.analysis.html import filled, packed, page_target, text_of, write_page
from experiments.analysis.report.grids import Shipped
from experiments.errors import LoopscopeError
from experiments.palette import ON_ANY_BACKGROUND
from experiments.results.long_table import Results
from experiments.runs.schema_version import release

PACKAGE = "experiments.analysis.explorer"


#: run id -> questions that were put to it, loop by loop
Traces: TypeAlias = dict[str, list[dict[str, Any]]]
ShippedGrid: TypeAlias = Callable[[str], Shipped | None]


def explorer_page(
    results: Results,
    traces: Traces | None = None,
    shipped: ShippedGrid = lambda name: None,
) -> str:
    """The HTML of the page.

    Args:
        shipped: the grid of a name that comes with loopscope.
        traces: run id -> questions that were put to it, loop by loop.

    Raises:
        LoopscopeError: there are no runs.
    """
    if results.runs.empty:
        raise LoopscopeError(f"{results.name} has no runs yet; `loopscope run GRID` trains some")
    place = "" if results.source is None else typed(results.source.path)
    style = text_of("experiments.analysis.report", "page.css") + text_of(PACKAGE, "page.css")
    return filled(
        text_of(PACKAGE, "page.html"),
        style,
        text_of(PACKAGE, "page.js").replace("PALETTE", json.dumps(ON_ANY_BACKGROUND))
        + text_of(PACKAGE, "details.js"),
        version=release(),
        title=place or "runs",
        n_runs=results.runs["run_id"].nunique(),
        data=packed(explorer_data(results, traces, shipped)),
    )


def write_explorer(
    results: Results,
    path: Path | None = None,
    traces: Traces | None = None,
    shipped: ShippedGrid = lambda name: None,
) -> Path:
    """Writes the page; the same results give the same bytes.

    Args:
        path: of the file; None: explore.html among the results, beside them for an archive.

    Raises:
        LoopscopeError: there are no runs, or no such file can be.
    """
    target = page_target(results.folder / "explore.html" if path is None else path, "--to")
    return write_page(explorer_page(results, traces, shipped), target)
