"""What a page is made of: text that is escaped, and the numbers that tables sort by."""

import math
import re
from html import unescape

import pytest

from experiments.analysis.report.page import render
from experiments.text import NumberText, TextTable, number


def page_of(table: TextTable) -> str:
    """A page with one table."""
    return render(title="", out=".", n_runs=1, sections=[], unfinished=None, environments=table)


def cell_of(text: str) -> tuple[str, str]:
    """The attributes and the content of a cell on a page, as the HTML has them."""
    rows = (("a", text), ("b", ""))
    page = page_of(TextTable("", ("a column", f"{text} of"), rows, (f"{text} below",)))
    found = re.search(r"<td([^>]*)>(.*?)</td>", page, re.DOTALL)
    assert found is not None
    for before, after in (
        ('<th scope="col"[^>]*>', " of</th>"),
        ('<p class="note">', " below</p>"),
    ):
        assert re.search(before + re.escape(found[2] + after), page), "everywhere it is the same"
    return found[1], found[2]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a < b & c", "a &lt; b &amp; c"),
        ("<b>x</b>", "&lt;b&gt;x&lt;/b&gt;"),
        ("{{ title }}{% raw %}", "{{ title }}{% raw %}"),
        ("\0\ud800\x1b[0m", "\ufffd\ufffd\ufffd[0m"),
    ],
)
def test_what_is_not_markup_is_escaped(text: str, wanted: str) -> None:
    assert cell_of(text) == (' class="words"', wanted)


def test_no_text_ends_an_attribute() -> None:
    hostile = "\">' onclick=x <b>&"
    page = page_of(TextTable(hostile, ("a",), ()))
    (label,) = re.findall(r'role="region" aria-label="([^"]*)">', page)
    assert unescape(label) == hostile and not re.search("[<>']", label)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (number(55_872), 55_872),
        (number(1.93e12), 1.93e12),
        (number(9e-5), 9e-5),
        (number(-0.039), -0.039),
        (NumberText("29%", 0.2941), 0.2941),
        (NumberText("about a tenth", 0.1), 0.1),
        (NumberText("never 0/3", math.inf), math.inf),
        (NumberText("absent", math.nan), None),
        ("1.5", None),
        ("–", None),
        ("", None),
        ("1⊗2", None),
        ("4x1 all along", None),
        ("2kg", None),
    ],
)
def test_cells_carry_their_number(cell: str, value: float | None) -> None:
    attributes, text = cell_of(cell)
    assert text == cell
    found = re.findall(r'data-value="([^"]*)"', attributes)
    assert list(map(float, found)) == ([] if value is None else [pytest.approx(value)])
    assert ("words" in attributes) == (value is None and cell not in ("", "–", "absent"))
