"""What a page is made of: text that is escaped, and keys that tables sort by."""

import math

import pytest

from experiments.analysis.report.markup import Html, element
from experiments.analysis.report.tables import sort_key


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (element("p", "a < b & c"), "<p>a &lt; b &amp; c</p>"),
        (element("p", Html("<b>x</b>"), None, ["y", "<"]), "<p><b>x</b>y&lt;</p>"),
        (element("a", "x", href='">'), '<a href="&quot;&gt;">x</a>'),
        (element("td", 1, data_sort=None, class_="a", hidden=True), '<td class="a" hidden>1</td>'),
        (element("br"), "<br>"),
        (element("p", "\0\ud800\x1b[0m"), "<p>\ufffd\ufffd\ufffd[0m</p>"),
    ],
)
def test_elements_escape_what_is_not_markup(made: Html, wanted: str) -> None:
    assert made == wanted


@pytest.mark.parametrize(
    ("cell", "key"),
    [
        ("1.23 ±0.04", 1.23),
        ("55.9k", 55_900),
        ("-0.039", -0.039),
        ("+0.856", 0.856),
        ("29%", 0.29),
        ("1.93T", 1.93e12),
        ("1k 2/2", 1000),
        ("9e-05", 9e-5),
        ("never 0/3", math.inf),
        ("–", None),
        ("", None),
        ("1⊗2", None),
        ("4x1 all along", None),
        ("2kg", None),
    ],
)
def test_cells_sort_by_the_number_they_begin_with(cell: str, key: float | None) -> None:
    found = sort_key(cell)
    assert found == (None if key is None else pytest.approx(key))
