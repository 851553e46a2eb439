"""The card as a reader has it, in a headless Chromium."""

from pathlib import Path

import pytest
from chromium import FOUND, NAMES, chromium

from experiments.suite.card import AxisText, Card, Column
from experiments.suite.comparison import write_comparison
from experiments.suite.page import write_card
from experiments.suite.score import Score

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(FOUND is None, reason=f"needs a Chromium: none of {', '.join(NAMES)}"),
]


def small_card() -> Card:
    axes = {n: AxisText(title=n, tag="storing", about=n) for n in ("ceiling", "speed", "rounded")}
    scores = {n: Score.of({0: 0.5, 1: 0.7}, "share", floor=0.0, ceiling=1.0) for n in axes}
    columns = [Column(label=x, about=x, scores=scores, costs={}) for x in ("model", "unlooped")]
    return Card(
        loopscope="0", name="x", title="X", size="tiny", label="1⊗2",
        model={}, axes=axes, columns=columns, run_ids=[],
    )  # fmt: skip


@pytest.mark.parametrize("width", [1200, 390])
def test_a_card_is_drawn_asks_for_nothing_and_scrolls_only_inside(
    tmp_path: Path, width: int
) -> None:
    write_card(small_card(), tmp_path, tmp_path)
    with chromium(tmp_path / "profile") as page:
        page.resize(width, 900)
        page.open(tmp_path / "card.html")
        assert [url for url in page.asked if not url.startswith("data:")] == [
            (tmp_path / "card.html").as_uri()
        ]
        assert page.complaints == []
        assert page.run("[...document.images].every(i => i.complete && i.naturalWidth > 100)")
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run("document.querySelectorAll('table').length") == 3


@pytest.mark.parametrize(("width", "fewest"), [(1400, 9), (390, 2)])
def test_radars_of_all_records_fit_beside_each_other(
    tmp_path: Path, width: int, fewest: int
) -> None:
    """Eighteen of them stand on one screen of a laptop, and two abreast on a telephone."""
    names = [f"x{i}_universal_transformer" for i in range(18)]
    cards = [small_card().model_copy(update={"name": name}) for name in names]
    path = write_comparison(cards, tmp_path / "cards.html")
    with chromium(tmp_path / "profile") as page:
        page.resize(width, 900)
        page.open(path)
        assert page.complaints == []
        assert page.run("[...document.images].length") == 18 + 1, "and their legend"
        assert page.run("[...document.images].every(i => i.complete && i.naturalWidth > 100)")
        assert page.run("document.documentElement.scrollWidth") <= width
        places = "[...document.querySelectorAll('figure')].map(f => f.getBoundingClientRect())"
        assert page.run(f"Math.max(...{places}.map(r => r.right))") <= width
        tops = page.run(f"{places}.map(r => r.top)")
        assert tops.count(tops[0]) >= fewest
        assert page.run(f"{places}[17].bottom") <= 900 or width < 1400, "with their legend"
        captions = "[...document.querySelectorAll('figcaption')]"
        assert page.run(f"{captions}.map(c => c.textContent)") == [f"{n} 1⊗2" for n in names]
        # a name is as wide as its radar, and broken between its words alone
        assert page.run(f"{captions}.every(c => c.scrollWidth <= c.clientWidth)")
        words = page.run(f"Math.max(...{captions}.map(c => c.getBoundingClientRect().height))")
        assert words < 4 * 18
