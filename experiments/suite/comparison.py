"""Several cards on one page: a table of all architectures, and every radar beside the others."""

import base64
from collections.abc import Sequence
from pathlib import Path

from experiments.analysis.report.page import render
from experiments.errors import LoopscopeError
from experiments.runs.json_files import replacing
from experiments.suite.card import Card
from experiments.suite.page import interval_text, radar_svg, short
from experiments.suite.references import REFERENCES
from experiments.text import NumberText, TextTable

#: in the folder of the runs: the folder of cards, and the page about all of them
CARDS, PAGE = "cards", "cards.html"


def cards_in(out: Path) -> list[Card]:
    """The cards in `OUT/cards`, by name.

    Raises:
        LoopscopeError: one cannot be read.
    """
    found = []
    for path in sorted(out.glob(f"{CARDS}/*/card.json")):
        try:
            found.append(Card.model_validate_json(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise LoopscopeError(
                f"{path} is no card of this version; `loopscope score` writes it again: {error}"
            ) from error
    return found


def comparison_table(cards: Sequence[Card]) -> TextTable:
    """Architectures in rows, axes in columns: means over seeds, and how each compares."""
    axes = {name: axis.title for card in cards for name, axis in card.axes.items()}
    rows = []
    for card in cards:
        model, by_label = card.columns[0], {column.label: column for column in card.columns}
        cells = (_cell(model.scores.get(name)) for name in axes)
        better = (by_label[r].improvement if r in by_label else None for r in REFERENCES)
        mean = interval_text(model.interquartile_mean)
        rows.append((card.name, card.label, card.size, mean, *map(interval_text, better), *cells))
    heads = ("architecture", "k⊗n", "size", "interquartile mean")
    heads += (*(f"P(> {name})" for name in REFERENCES), *axes.values())
    notes = (
        "Means over seeds; each card has their intervals, floors and ceilings. P: that a run of "
        "the model is better than one of its reference, over shared axes. Interquartile means are "
        "over the axes that a model shares with its references, which may be others elsewhere.",
    )
    return TextTable("Architectures", heads, tuple(rows), notes)


def _cell(score: object) -> str:
    value = getattr(score, "value", None)
    return "–" if value is None else NumberText(short(value), value)


def write_comparison(cards: Sequence[Card], path: Path) -> Path:
    """Writes one HTML page that needs no network; the same cards give the same bytes."""
    radars = [(card, radar_svg(card)) for card in cards]
    text = render(
        "cards.html",
        "experiments.suite",
        title="Score cards",
        cards=cards,
        radars=[(card, base64.b64encode(svg.encode()).decode()) for card, svg in radars if svg],
        table_of_cards=comparison_table(cards),
    )
    with replacing(path, durable=False) as file:
        file.write(text.encode())
    return path
