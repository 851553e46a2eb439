"""The sections of a page: what was asked, what is said, and how to get every number again."""

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.analysis.report.figures import drawn, figure_html
from experiments.analysis.report.grids import Asked
from experiments.analysis.report.markup import Html, element
from experiments.analysis.report.tables import run_tables, table_html
from experiments.analysis.report.verdicts import Judged, judged
from experiments.analysis.tables.tables import tables
from experiments.results.long_table import Results

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Subject:
    """What a section is about.

    Attributes:
        shown: what commands on the page call the folder of runs.
        hypotheses: that are judged.
    """

    results: Results
    shown: str
    hypotheses: tuple[str, ...]


def command(*words: str) -> Html:
    """A line to type, for a shell."""
    return element("pre", element("code", shlex.join(words)))


def grid_section(
    subject: Subject,
    asked: Asked,
    runs: "pd.DataFrame",
    curves: "pd.DataFrame",
    heading: tuple[str, str],
) -> Html:
    """Everything about the results of one grid.

    Args:
        heading: anchor and text.
    """
    anchor, title = heading
    words = element("p", asked.question) if asked.question else None
    done = runs[runs["status"] == "done"]["run_id"].nunique()
    state = f"Grid {asked.name}: {done} of {runs['run_id'].nunique()} runs are done."
    return element(
        "section",
        element("h2", title, id=anchor),
        words,
        element("p", state, class_="note"),
        _verdicts(subject, asked),
        _tables(subject, asked.name, runs, curves),
        _figures(subject, asked),
        _runs(runs),
        _grid(asked),
        _again(subject, asked, runs),
        aria_labelledby=anchor,
    )


def loose_section(
    subject: Subject, runs: "pd.DataFrame", curves: "pd.DataFrame", anchor: str
) -> Html:
    """Tables of the runs that belong to no grid."""
    return element(
        "section",
        element("h2", "Runs outside every grid", id=anchor),
        _tables(subject, None, runs, curves),
        _runs(runs),
        aria_labelledby=anchor,
    )


def _verdicts(subject: Subject, asked: Asked) -> Html:
    found = [judged(subject.results, name) for name in subject.hypotheses]
    parts = [_judged(one, subject.shown, asked.name) for one in found]
    return element("div", element("h3", "Verdicts"), parts)


def _judged(found: Judged, shown: str, grid: str) -> Html:
    title = [
        element("h4", found.claim.replace("-", " ")),
        element("p", f"The claim: {found.meaning}.", class_="note"),
    ]
    if found.table is None:
        return element("div", title, element("p", f"Not judged: {found.reason}", class_="note"))
    outcomes = [
        element("li", f"{outcome} in {n}", class_=outcome.replace(" ", "-"))
        for outcome, n in found.outcomes.items()
    ]
    words = [
        element("p", [[element("br") if i else None, line] for i, line in enumerate(lines)])
        for lines in found.words
    ]
    return element(
        "div",
        title,
        element("ul", outcomes, class_="outcomes"),
        table_html(found.table),
        element("details", element("summary", "In words, with every number"), words),
        command("loopscope", "compare", shown, "--grid", grid, "--claim", found.claim),
    )


def _tables(
    subject: Subject, grid: str | None, runs: "pd.DataFrame", curves: "pd.DataFrame"
) -> Html:
    found = tables(runs[runs["status"] == "done"], curves)
    asked = ("--grid", grid) if grid else ()
    return element(
        "div",
        element("h3", "Tables"),
        [table_html(table) for table in found] or element("p", "Nothing is measured yet."),
        command("loopscope", "table", subject.shown, *asked),
    )


def _figures(subject: Subject, asked: Asked) -> Html | None:
    found = drawn(subject.results, asked.figures)
    if not found:
        return None
    pictures = []
    for figure in found:
        line = shlex.join(["loopscope", "figure", figure.kind, subject.shown])
        if asked.shipped:
            line = asked.command("figure", subject.shown, figure.kind)
        pictures.append(figure_html(figure, line))
    return element("div", element("h3", "Figures"), pictures)


def _runs(runs: "pd.DataFrame") -> Html:
    found = [table_html(table) for table in run_tables(runs)]
    summary = element("summary", f"Show {runs['run_id'].nunique()} runs, one a row")
    return element("div", element("h3", "Every run"), element("details", summary, found))


def _grid(asked: Asked) -> Html:
    text = (
        element("pre", element("code", asked.source))
        if asked.source
        else element("p", "The results do not hold the text of its file.", class_="note")
    )
    return element(
        "div",
        element("h3", "The grid"),
        table_html(asked.axes) if asked.axes.rows else None,
        element("details", element("summary", f"{asked.name}.yaml"), text),
    )


def _again(subject: Subject, asked: Asked, runs: "pd.DataFrame") -> Html:
    out, grid = subject.shown, asked.name
    overrides = [part for text in asked.overrides for part in ("--set", text)]
    done = runs[runs["status"] == "done"]["run_id"]
    text = "the text above" if asked.source else "the file of the grid, which is not recorded"
    file = "" if asked.shipped else f" ({asked.file} being {text})"
    lines = [
        (f"Train and measure whatever is lacking{file}:", asked.command("run", out, *overrides)),
        ("This page:", shlex.join(["loopscope", "report", out, "--grid", grid])),
    ]
    if len(done):
        measure = shlex.join(["loopscope", "probe", out, str(done.iloc[0])])
        lines.append(("Measure one run again from its final weights:", measure))
    load = f"from experiments.results import load_runs\nruns = load_runs({out!r}, {grid!r})"
    lines.append(("All numbers as one DataFrame:", load))
    return element(
        "div",
        element("h3", "To get every number again"),
        element("p", "The commands of verdicts, tables and figures stand beside them."),
        [
            [element("p", text, class_="note"), element("pre", element("code", line))]
            for text, line in lines
        ],
    )
