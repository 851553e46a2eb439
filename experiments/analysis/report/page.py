"""One HTML file that holds everything and asks nothing of any network."""

import base64
import hashlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from string import Template

from experiments.analysis.report.environments import environment_table
from experiments.analysis.report.grids import Shipped, asked
from experiments.analysis.report.markup import Child, Html, element, escaped, joined
from experiments.analysis.report.sections import Subject, grid_section, loose_section
from experiments.analysis.report.tables import table_html
from experiments.analysis.report.verdicts import QUESTION, check_hypotheses
from experiments.analysis.tables.abilities import unfinished_table
from experiments.errors import LoopscopeError
from experiments.results.long_table import read_results
from experiments.results.source import Source, open_source
from experiments.runs.json_files import replacing
from experiments.runs.schema_version import release

NOT_DONE, ENVIRONMENT = "not-done", "environment"


def write_report(
    out: Path | str = "runs",
    grid: str | None = None,
    path: Path | str | None = None,
    hypotheses: tuple[str, ...] = QUESTION,
    shipped: Callable[[str], Shipped | None] = lambda name: None,
) -> Path:
    """Writes the page about a grid, or about all in `out`; the same results give the same bytes.

    Args:
        path: of the file; None: report.html in `out`, beside it where it is an archive.
        hypotheses: names in `verdicts.HYPOTHESES`.
        shipped: the grid of a name that comes with loopscope.

    Returns:
        The path.

    Raises:
        LoopscopeError: `out` is no folder of runs, has no such grid or no runs, there is no such
            hypothesis, or no folder for the file.
    """
    check_hypotheses(hypotheses)
    folder = Path(out).parent if Path(out).is_file() else Path(out)
    target = folder / "report.html" if path is None else Path(path)
    if path is not None and not target.parent.is_dir():
        raise LoopscopeError(f"{target.parent} is no folder; make it, or choose another --file")
    if target.is_dir() or target.suffix not in (".html", ".htm"):
        raise LoopscopeError(f"--file {target}: needs the name of a file that ends in .html")
    text = page(open_source(out), grid, hypotheses, shipped)
    with replacing(target, durable=False) as file:
        file.write(text.encode())
    return target


def page(
    source: Source,
    grid: str | None,
    hypotheses: tuple[str, ...],
    shipped: Callable[[str], Shipped | None],
) -> str:
    """The HTML of the report.

    Raises:
        LoopscopeError: as `write_report`.
    """
    shown, results = str(source.path), read_results(source, grid)
    runs, curves = results.runs, results.curves
    if runs.empty:
        raise LoopscopeError(f"{shown} has no runs yet; `loopscope run GRID` trains some")
    names = [name for name in dict.fromkeys(runs["grid"]) if name]
    grids = [asked(name, source.grids[name], shipped(name)) for name in names]
    sections: list[tuple[str, str, Html]] = []
    for i, one in enumerate(grids):
        its = runs[runs["grid"] == one.name], curves[curves["grid"] == one.name]
        anchor = f"grid-{i + 1}"
        title = one.title or one.name if len(grids) > 1 else "The question"
        subject = Subject(read_results(source, one.name), shown, hypotheses)
        section = grid_section(subject, one, *its, (anchor, title))
        sections.append((anchor, one.name, section))
    if (runs["grid"] == "").any():
        its = runs[runs["grid"] == ""], curves[curves["grid"] == ""]
        section = loose_section(Subject(results, shown, ()), *its, "no-grid")
        sections.append(("no-grid", "runs outside every grid", section))
    unfinished = unfinished_table(runs)
    body: list[Child] = [element("h2", "Runs that are not done", id=NOT_DONE)]
    body.append(table_html(unfinished) if unfinished else element("p", "All runs are done."))
    environments = environment_table(source.environments(runs["run_id"]))
    body.append(element("h2", "Computed with", id=ENVIRONMENT))
    body.append(table_html(environments) if environments else element("p", "Not known."))
    title = grids[0].title or grids[0].name if len(grids) == 1 else f"Results in {shown}"
    links = [(anchor, name) for anchor, name, _ in sections]
    links += [(NOT_DONE, "runs that are not done"), (ENVIRONMENT, "computed with")]
    left = len(unfinished.rows) if unfinished else 0
    header = _header(title, links, left, runs["run_id"].nunique())
    main = element("main", [section for _, _, section in sections], body)
    return _whole(title, joined([header, main], "\n"))


def _header(title: str, links: list[tuple[str, str]], left: int, runs: int) -> Html:
    notice = element(
        "p", f"{left} of {runs} runs are not done: ", element("a", "why", href=f"#{NOT_DONE}"), ".",
        class_="notice",
    )  # fmt: skip
    items = [element("li", element("a", name, href=f"#{anchor}")) for anchor, name in links]
    nav = element("nav", element("ul", items), aria_label="sections")
    return element("header", element("h1", title), nav, notice if left else None)


def _whole(title: str, body: Html) -> str:
    """The page around its body; its own style and script are the only ones it allows to run."""
    folder = files("experiments.analysis.report")
    style, script = (folder.joinpath(f"page.{end}").read_text("utf-8") for end in ("css", "js"))
    return Template(folder.joinpath("page.html").read_text("utf-8")).substitute(
        title=escaped(f"{title} – loopscope"),
        version=escaped(release()),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        body=body,
    )


def _hash(text: str) -> str:
    """As a content security policy names what it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
