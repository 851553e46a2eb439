"""The explorer as a reader has it: in a headless Chromium, from a file, at a desk or a phone."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import FOUND, NAMES, Page, chromium
from many_runs import many

from experiments.analysis.explorer.page import write_explorer
from experiments.grid.grid import load_grid
from experiments.notebook.explorer import explore
from experiments.results.long_table import load_runs, read_results

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(FOUND is None, reason=f"needs a Chromium: none of {', '.join(NAMES)}"),
]
#: seconds in which a page of 2,000 runs is to be there
SECONDS = 3
DESK, PHONE = (1400, False), (390, True)
GATED, PLAIN = "multihop-1x4-8bd381c27694", "multihop-1x4-a46efb2465c1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of the results `headline` and, with questions, `inside`."""
    folder = tmp_path_factory.mktemp("pages")
    write_explorer(read_results("reference:headline"), folder / "headline.html")
    text = explore("reference:inside", questions=2).page
    (folder / "inside.html").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


def opened(browser: Page, path: Path, size: tuple[int, bool] = DESK) -> float:
    """Opens a page and waits until its points are drawn; the seconds that took."""
    browser.complaints.clear()
    browser.resize(size[0], 900, size[1])
    start = time.monotonic()
    browser.open(path)
    while browser.run("document.body.dataset.ready") != "yes":
        assert time.monotonic() - start < 60, browser.complaints
        time.sleep(0.02)
    assert browser.run("document.querySelector('circle.point') !== null")
    return time.monotonic() - start


def click(page: Page, run: str, difficulty: int = 3) -> None:
    """A real click of the mouse on the point of a run."""
    at = page.run(
        f"(() => {{ const p = drawn.find(p => data.runs[p.place].startsWith('{run}')"
        f" && p.difficulty === {difficulty});"
        " const svg = document.querySelector('#chart svg'); svg.scrollIntoView({block: 'center'});"
        " const r = svg.getBoundingClientRect(); return [r.left + p.px, r.top + p.py]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        page.call(
            "Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", clickCount=1
        )


def text(page: Page, selector: str) -> str:
    return page.run(f"document.querySelector('{selector}')?.textContent ?? ''")


def texts(page: Page, selector: str) -> list[str]:
    return page.run(f"[...document.querySelectorAll('{selector}')].map(e => e.textContent)")


def set_select(page: Page, selector: str, value: str) -> None:
    """Chooses an option as a hand would: the value, and the event that tells of it."""
    now = page.run(
        f"(e => {{ e.value = '{value}'; e.dispatchEvent(new Event('change', {{bubbles: true}}));"
        f" return e.value }})(document.querySelector('{selector}'))"
    )
    assert now == value, "there is such an option"


def test_it_asks_for_nothing_and_complains_of_nothing(browser: Page, folder: Path) -> None:
    path = folder / "headline.html"
    opened(browser, path)
    assert browser.asked == [path.as_uri()] and browser.complaints == []
    rows = load_runs("reference:headline")
    rows = rows.query("metric == 'accuracy' and split == 'test' and loop == n_loops")
    assert browser.run("document.querySelectorAll('circle.point').length") == len(rows)


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_a_click_shows_a_run_and_the_next_one_beside_it(
    browser: Page, folder: Path, size: tuple[int, bool], tmp_path: Path
) -> None:
    opened(browser, folder / "inside.html", size)
    # both solve three hops, so their points are pushed apart sideways only
    click(browser, PLAIN)
    assert PLAIN in text(browser, "#details-0") and text(browser, "#details-1") == ""
    click(browser, GATED)
    assert PLAIN in text(browser, "#details-0") and GATED in text(browser, "#details-1")
    left, right = (set(texts(browser, f"#details-{side} figure h4")) for side in (0, 1))
    assert left == {"loss in training", "accuracy in training", "accuracy by loop"}
    assert right == left | {"mean exit in training", "exit distribution"}
    assert "accuracy, test, hops 2" in texts(browser, "#details-0 dt")
    values = dict(
        zip(texts(browser, "#details-0 dt"), texts(browser, "#details-0 dd"), strict=True)
    )
    assert values["accuracy, test, hops 3"] == "1" and values["parameters"] == "52,608"
    # what repeats the run is a grid file, of the run that is shown
    assert "loopscope run" in text(browser, "#details-0 pre.command")
    config = tmp_path / "again.yaml"
    config.write_text(text(browser, "#details-0 pre.config"), encoding="utf-8")
    assert list(load_grid(config).runs) == [PLAIN]
    link = "document.querySelector('#details-0 a[download]')"
    assert browser.run(f"{link}.download") == f"{PLAIN}.yaml"
    assert browser.run(f"decodeURIComponent({link}.href.split(',')[1])") == config.read_text(
        "utf-8"
    )
    beside = "document.querySelector('#side-{}').getBoundingClientRect()"
    tops = [browser.run(f"{beside.format(side)}.top") for side in (0, 1)]
    assert (tops[0] == tops[1]) == (size == DESK), "beside each other where there is room"
    assert browser.complaints == []


def test_bars_of_the_exit_distribution_are_as_high_as_was_measured(
    browser: Page, folder: Path
) -> None:
    opened(browser, folder / "inside.html")
    click(browser, GATED)
    rows = load_runs("reference:inside").query("run_id == @GATED and metric == 'exit_probability'")
    wanted = [v for _, group in rows.groupby("difficulty", sort=False) for v in group["value"]]
    charts = "[...document.querySelectorAll('#details-0 figure')]"
    chart = f"{charts}.find(f => f.textContent.includes('exit distribution'))"
    heights = browser.run(
        f"[...{chart}.querySelectorAll('rect')].map(r => +r.attributes.height.value)"
    )
    assert len(heights) == len(wanted) == 8
    unit = max(heights) / max(wanted)
    assert heights == pytest.approx([unit * value for value in wanted], abs=0.2)


def test_axes_and_filters_choose_what_is_drawn(browser: Page, folder: Path) -> None:
    opened(browser, folder / "headline.html")
    rows = load_runs("reference:headline")
    set_select(browser, "#y", "measured bits_per_parameter, train, total")
    set_select(browser, "#x", "fact parameters")
    set_select(browser, "#colour", "fact arm")
    wanted = rows.query("metric == 'bits_per_parameter' and item == 'total' and loop == n_loops")
    assert browser.run("drawn.length") == len(wanted)
    found = browser.run("drawn.map(p => [p.x, p.y, p.colour])")
    for (x, y, colour), row in zip(found, wanted.itertuples(), strict=True):
        assert x == pytest.approx(row.parameters, rel=1e-4) and colour == row.arm
        assert y == pytest.approx(row.value, rel=1e-4)
    assert texts(browser, "#legend li") == sorted(wanted["arm"].unique())
    # higher values stand higher, and a larger model further to the right
    pairs = browser.run("drawn.map(p => [p.y, p.py])")
    assert [py for _, py in sorted(pairs)] == sorted((py for _, py in pairs), reverse=True)
    chip = (
        "[...document.querySelectorAll('input[name=\"filter arm\"]')].find(i => i.value === '{}')"
    )
    browser.run(f"{chip.format('1⊗4')}.click()")
    assert set(browser.run("drawn.map(p => p.colour)")) == {"1⊗4"}
    browser.run(f"{chip.format('1⊗2')}.click()")
    assert set(browser.run("drawn.map(p => p.colour)")) == {"1⊗2", "1⊗4"}
    browser.run(f"{chip.format('1⊗4')}.click(); {chip.format('1⊗2')}.click()")
    assert browser.run("drawn.length") == len(wanted)
    browser.run('document.querySelector(\'input[name="filter seed"][value="1"]\').click()')
    assert browser.run("drawn.length") == len(wanted.query("seed == 1"))
    set_select(browser, "#y", "measured accuracy, test")
    browser.run('document.querySelector(\'input[name="filter difficulty"][value="3"]\').click()')
    asked = rows.query("metric == 'accuracy' and split == 'test' and loop == n_loops")
    asked = asked.query("seed == 1 and difficulty == 3")
    assert browser.run("drawn.length") == len(asked) > 0
    browser.run("document.querySelector('#log-x').click()")
    assert browser.run("drawn.length") == len(asked) and browser.complaints == []


def test_the_axis_of_loops_draws_every_loop(browser: Page, folder: Path) -> None:
    opened(browser, folder / "inside.html")
    before = browser.run("drawn.length")
    set_select(browser, "#x", "loop")
    rows = load_runs("reference:inside").query("metric == 'accuracy' and split == 'test'")
    rows = rows[rows["item"] == ""]
    assert before < browser.run("drawn.length") == len(rows)


def test_two_quantities_of_a_run_meet_in_a_point(browser: Page, folder: Path) -> None:
    opened(browser, folder / "inside.html")
    set_select(browser, "#x", "measured accuracy, train")
    rows = load_runs("reference:inside").query(
        "metric == 'accuracy' and item == '' and loop == n_loops"
    )
    keys = ["run_id", "difficulty"]
    both = rows[rows["split"] == "train"].merge(rows[rows["split"] == "test"], on=keys)
    wanted = sorted(zip(both["value_x"], both["value_y"], strict=True))
    found = sorted(map(tuple, browser.run("drawn.map(p => [p.x, p.y])")))
    assert len(found) == len(wanted) > 4
    assert found == [pytest.approx(pair, rel=1e-4) for pair in wanted]


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_a_question_is_stepped_through_loop_by_loop(
    browser: Page, folder: Path, size: tuple[int, bool]
) -> None:
    opened(browser, folder / "inside.html", size)
    assert "can be stepped through" in text(browser, "#count")
    click(browser, GATED)
    questions = texts(browser, "#details-0 .stepper option")
    assert len(questions) == 4 and questions[3].startswith("<3> e")
    set_select(browser, "#details-0 .stepper select", "3")
    answer = questions[3].rpartition(" ")[2]
    first = "#details-0 .stepper tbody tr th"
    assert "after loop 1 of 4" in text(browser, "#details-0 .stepper")
    assert {"exit gate", "looked for"} <= set(texts(browser, "#details-0 .stepper caption"))
    early = text(browser, first)
    for loop in (2, 3, 4):
        browser.run("document.querySelector('#details-0 [aria-label=\"next loop\"]').click()")
        assert f"after loop {loop} of 4" in text(browser, "#details-0 .stepper")
    assert text(browser, first) == f"{answer} (the answer)" != early
    looked = texts(browser, "#details-0 .stepper tbody th")
    assert any(name.startswith("bridge hop.1: e") for name in looked)
    # the gate's probabilities add up by the last loop
    assert texts(browser, "#details-0 .stepper tr td:last-child")[-1] == "1.000"
    way = text(browser, "#details-0 .stepper .path")
    assert way.count("→") == 3 and way.endswith(answer)
    assert browser.run("document.querySelector('.stepper strong').textContent") == answer
    browser.run("document.querySelector('#details-0 [aria-label=\"loop before\"]').click()")
    assert "after loop 3 of 4" in text(browser, "#details-0 .stepper")
    assert browser.complaints == []


def test_runs_are_chosen_with_keys_alone(browser: Page, folder: Path) -> None:
    opened(browser, folder / "headline.html")
    browser.run("document.querySelector('#run-1').focus()")
    browser.press("ArrowDown", 40)
    browser.press("ArrowDown", 40)
    chosen = browser.run("state.chosen[1]")
    assert chosen is not None
    assert browser.run(f"data.runs[{chosen}]") in text(browser, "#details-1")


@pytest.mark.parametrize("size", [DESK, PHONE, (320, True)])
def test_nothing_is_wider_than_the_window_and_nothing_too_small(
    browser: Page, folder: Path, size: tuple[int, bool]
) -> None:
    for name in ("headline", "inside"):
        opened(browser, folder / f"{name}.html", size)
        browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        browser.run("select(0, drawn[0].place); select(1, drawn.at(-1).place)")
        assert browser.run("document.documentElement.scrollWidth") <= size[0]
        sizes = "[...document.querySelectorAll('p, dd, dt, a, td, label, select')]"
        small = browser.run(f"{sizes}.map(e => parseFloat(getComputedStyle(e).fontSize))")
        assert min(small) >= 12


def test_two_thousand_runs_are_there_in_time(browser: Page, tmp_path: Path) -> None:
    """In seconds of the page's own thread, which other work on the machine does not prolong."""
    path = write_explorer(many(2000), tmp_path / "many.html")
    opened(browser, path)  # what a first page needs of the browser itself
    browser.call("Performance.enable", timeDomain="threadTicks")
    for size in (DESK, PHONE):
        waited = opened(browser, path, size)
        took = busy(browser)
        points = browser.run("document.querySelectorAll('circle.point').length")
        size_text = f"{points} points at {size[0]} px, {path.stat().st_size:,} bytes"
        print(f"{size_text}: {took:.2f} s of its thread, {waited:.2f} s on the clock")
        assert points > 2000 and 0.05 < took < SECONDS
        # axes and selections answer as fast
        before = busy(browser)
        set_select(browser, "#x", "fact parameters")
        browser.run("select(0, drawn[5].place)")
        assert 0.01 < busy(browser) - before < SECONDS


def busy(page: Page) -> float:
    """Seconds that the page's main thread has worked: for this page, and maybe for earlier ones."""
    metrics = page.call("Performance.getMetrics")["metrics"]
    return next(m["value"] for m in metrics if m["name"] == "TaskDuration")
