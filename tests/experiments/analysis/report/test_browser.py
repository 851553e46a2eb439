"""The page as a reader has it: in a headless Chromium, from a file, with keys and on a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import FOUND, NAMES, Page, chromium
from synthetic_results import write_toy

from experiments.analysis.report.page import write_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(FOUND is None, reason=f"needs a Chromium: none of {', '.join(NAMES)}"),
]

#: the first table of a title that contains a text, as JavaScript
TABLE = "[...document.querySelectorAll('table')].find(t => t.caption.textContent.includes('{}'))"
ACCURACY, RUNS = "functions: accuracy", "functions: every run"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_toy(tmp_path_factory.mktemp("browser") / "runs"), "toy")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page, path: Path) -> Page:
    browser.complaints.clear()
    browser.resize(1200, 900)
    browser.open(path)
    return browser


def column(page: Page, title: str, at: int) -> list[str]:
    """The cells of a column that are shown, in the order shown."""
    rows = f"[...{TABLE.format(title)}.tBodies[0].rows].filter(r => !r.hidden)"
    return page.run(f"{rows}.map(r => r.cells[{at}].textContent)")


def press_heading(page: Page, title: str, at: int, key: str, code: int) -> str | None:
    """Presses a key on a heading; how the column is sorted then."""
    heading = f"{TABLE.format(title)}.tHead.rows[0].cells[{at}]"
    page.run(f"{heading}.querySelector('button').focus()")
    page.press(key, code)
    return page.run(f"{heading}.getAttribute('aria-sort')")


def test_it_asks_for_nothing_and_complains_of_nothing(page: Page, path: Path) -> None:
    assert [url for url in page.asked if not url.startswith("data:")] == [path.as_uri()]
    assert page.complaints == []
    images = "[...document.images].every(i => i.complete && i.naturalWidth > 100)"
    assert page.run(images) and page.run("document.images.length") == 4
    # the control: what the page does not allow is refused, and noted
    page.run("document.body.append(Object.assign(new Image(), {src: 'file:///x.png'}))")
    page.run("document.body.insertAdjacentHTML('beforeend', '<b onclick=\"pwned=1\">x</b>')")
    page.run("document.querySelector('b').click()")
    assert page.run("typeof pwned") == "undefined"
    assert any("Content Security Policy" in text for text in page.complaints)


def test_columns_sort_by_value_with_keys_alone(page: Page) -> None:
    head = f"[...{TABLE.format(RUNS)}.tHead.rows[0].cells].map(c => c.textContent)"
    at = page.run(head).index("3 hops")
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    before = column(page, RUNS, at)
    assert len(before) == 9 and before != sorted(before, key=float)
    assert press_heading(page, RUNS, at, "Enter", 13) == "ascending"
    assert column(page, RUNS, at) == sorted(before, key=float)
    assert press_heading(page, RUNS, at, " ", 32) == "descending"
    assert column(page, RUNS, at) == sorted(before, key=float, reverse=True)
    assert press_heading(page, RUNS, at, "Enter", 13) is None
    assert column(page, RUNS, at) == before, "the third time restores the order"


def test_units_sort_as_numbers_and_what_is_missing_stands_last(page: Page) -> None:
    cells = ("900", "1.5k", "–", "never 0/3", "20")
    values = ("900", "1500", None, "Infinity", "20")
    rows = "".join(
        f"<tr><th>a</th><td{f' data-value={value}' if value else ''}>{cell}</td></tr>"
        for cell, value in zip(cells, values, strict=True)
    )
    page.run(f"{TABLE.format(ACCURACY)}.tBodies[0].innerHTML = '{rows}'")
    sort = f"ordered([...{TABLE.format(ACCURACY)}.tBodies[0].rows], 1, {{}})"
    shown = "{}.map(r => r.cells[1].textContent)"
    rising = ["20", "900", "1.5k", "never 0/3", "–"]
    assert page.run(shown.format(sort.format(1))) == rising
    assert page.run(shown.format(sort.format(-1))) == [*rising[-2::-1], "–"]


def test_the_floor_is_not_sorted_among_the_arms(page: Page) -> None:
    press_heading(page, ACCURACY, 0, "Enter", 13)
    press_heading(page, ACCURACY, 0, "Enter", 13)
    assert column(page, ACCURACY, 0) == ["1⊗4", "1⊗2", "1⊗1"]
    assert page.run(f"{TABLE.format(ACCURACY)}.tFoot.rows[0].cells[0].textContent") == "floor"


def test_rows_are_filtered_by_words_typed(page: Page) -> None:
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    holder = f"{TABLE.format(RUNS)}.closest('.table')"
    page.run(f"{holder}.querySelector('input').focus()")
    page.type("1x4 DONE")
    assert len(column(page, RUNS, 0)) == 3 and set(column(page, RUNS, 0)) == {"1⊗4"}
    assert page.run(f"{holder}.querySelector('output').textContent") == "3 of 9 rows"
    page.run(f"{holder}.querySelector('input').select()")
    page.type("nothing of the kind")
    assert column(page, RUNS, 0) == []
    labels = "[...document.querySelectorAll('input')].map(i => i.getAttribute('aria-label'))"
    assert all("Filter the rows of" in label for label in page.run(labels))


def test_tab_reaches_headings_tables_and_figures(page: Page) -> None:
    seen = set()
    for _ in range(80):
        page.press("Tab", 9)
        seen.add(page.run("document.activeElement.className + document.activeElement.tagName"))
    assert {"BUTTON", "scrollDIV", "SUMMARY", "INPUT", "A"} <= seen


@pytest.mark.parametrize(("width", "mobile"), [(1200, False), (390, True), (320, True)])
def test_only_tables_and_figures_scroll_sideways(page: Page, width: int, mobile: bool) -> None:
    page.resize(width, 800, mobile)
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("innerWidth") == width, "the viewport is that of the device"
    small = "[...document.querySelectorAll('p, td, a')].map(e => getComputedStyle(e).fontSize)"
    assert min(float(size.removesuffix("px")) for size in page.run(small)) >= 12


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` (WCAG 2)."""
    parts = [int(p) / 255 for p in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(page: Page, scheme: str) -> None:
    page.prefer(scheme)
    ground = luminance(page.run("getComputedStyle(document.body).backgroundColor"))
    assert (ground < 0.1) == (scheme == "dark")
    # three seeds decide nothing: the page has neither of these outcomes by itself
    marks = "[...document.querySelectorAll('.outcomes li')]"
    page.run(f"{marks}[0].className = 'supported'; {marks}[1].className = 'contradicted'")
    for what in ("body", "a", ".note", "tfoot td", ".supported", ".contradicted", "summary"):
        ink = luminance(page.run(f"getComputedStyle(document.querySelector('{what}')).color"))
        low, high = sorted((ink, ground))
        assert (high + 0.05) / (low + 0.05) >= 4.5, f"{what} in {scheme}"
    page.prefer("light")


def test_without_scripts_the_tables_are_plain_and_whole(browser: Page, path: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(path)
        root = browser.call("DOM.getDocument", depth=0)["root"]["nodeId"]
        counts = {
            what: len(browser.call("DOM.querySelectorAll", nodeId=root, selector=what)["nodeIds"])
            for what in ("button", "input", "table", "tbody tr", "img")
        }
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert counts["button"] == counts["input"] == 0
    assert counts["table"] > 8 and counts["tbody tr"] > 40 and counts["img"] == 4


def test_it_prints_with_all_that_is_folded(page: Page) -> None:
    page.run("addEventListener('beforeprint', () => {"
             "unfolded = document.querySelectorAll('details:not([open])').length})")  # fmt: skip
    assert page.run("document.querySelectorAll('details:not([open])').length") > 3
    assert page.print().startswith(b"%PDF")
    assert page.run("unfolded") == 0
    assert page.run("document.querySelectorAll('details:not([open])').length") > 3


#: whether an element can be seen without scrolling
SEEN = "(r => r.top >= 0 && r.bottom <= innerHeight && r.left >= 0 && r.right <= innerWidth)"


@pytest.mark.parametrize(("width", "mobile"), [(1400, False), (390, True)])
def test_answers_are_seen_before_any_scrolling(page: Page, width: int, mobile: bool) -> None:
    page.resize(width, 800, mobile)
    first = f"{SEEN}(document.querySelector('.answers li').getBoundingClientRect())"
    assert page.run(first)
    cells = f"[...{TABLE.format('manipulation-better')}.tBodies[0].rows].map(r => r.cells[1])"
    assert page.run(f"{cells}.every(c => c.textContent == 'undecided')")
    inside = f"{cells}.every(c => c.getBoundingClientRect().right <= innerWidth)"
    assert page.run(inside), "nor need a verdict be scrolled to sideways"


def test_a_wide_window_is_used(page: Page) -> None:
    page.resize(1400, 900)
    taken = "document.querySelector('main').getBoundingClientRect().width"
    assert page.run(taken) >= 1350
