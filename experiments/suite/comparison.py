"""Several cards on one page: a table of all architectures, and every radar beside the others."""

import base64
from collections.abc import Sequence
from pathlib import Path

from experiments.analysis.report.page import render
from experiments.errors import LoopscopeError
from experiments.runs.json_files import replacing
from experiments.suite.card import Card
from experiments.suite.page import interval_text, radar_svg, short, svg_of
from experiments.suite.radar import legend
from experiments.suite.references import REFERENCES
from experiments.suite.score import MOST_BITS
from experiments.text import NumberText, TextTable

#: in the folder of the runs: the folder of cards, what each is, and the page about all of them
CARDS, CARD, PAGE = "cards", "card.json", "cards.html"
#: what is told of a card and its references, in this order
STANDING = ("interquartile mean", *(f"P(> {name})" for name in REFERENCES), "so far")
STANDING_NOTE = (
    "P: that a run of the model is better than one of the reference, over shared axes. Ahead and "
    "behind: the 95 % interval of P leaves out .5, which with two or three seeds is a hint; an "
    "interval of no width decides nothing. "
    "Interquartile means are over the axes that a model shares with its references, which may be "
    "others elsewhere."
)


def cards_in(out: Path) -> list[Card]:
    """The cards in `OUT/cards`, by name.

    Raises:
        LoopscopeError: one cannot be read.
    """
    found = []
    for path in sorted(out.glob(f"{CARDS}/*/{CARD}")):
        try:
            found.append(Card.model_validate_json(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise LoopscopeError(
                f"{path} is no card of this version; `loopscope score` writes it again: {error}"
            ) from error
    return found


def comparison_table(cards: Sequence[Card]) -> TextTable:
    """Architectures in rows: their mean over axes, and how each compares with its references."""
    heads = ("architecture", "k⊗n", "size", *STANDING)
    rows = tuple((card.name, card.label, card.size, *standing_cells(card)) for card in cards)
    return TextTable("Against the references", heads, rows, (STANDING_NOTE,))


def standing_cells(card: Card) -> tuple[str, ...]:
    """The cells of a card under `STANDING`."""
    by_label = {column.label: column for column in card.columns}
    better = (by_label[r].improvement if r in by_label else None for r in REFERENCES)
    sides = {side: [] for side in ("ahead", "behind")}
    for label, side in card.standing.items():
        sides.get(side, []).append(label)
    told = "; ".join(f"{side} of {', '.join(of)}" for side, of in sides.items() if of)
    mean = interval_text(card.columns[0].interquartile_mean)
    undecided = "open" if card.standing else "–"
    return (mean, *map(interval_text, better), (told or undecided).replace("behind of", "behind"))


def axes_of(cards: Sequence[Card]) -> dict[str, str]:
    """Name -> title of every axis of some card, in order."""
    return {name: axis.title for card in cards for name, axis in card.axes.items()}


def scores_table(cards: Sequence[Card]) -> TextTable:
    """Architectures in rows, axes in columns: means over seeds."""
    axes = axes_of(cards)
    rows = (
        (card.name, *(_cell(card.columns[0].scores.get(name)) for name in axes)) for card in cards
    )
    note = "Means over seeds; each card has their intervals, floors and ceilings, and what – means."
    return TextTable("By axis", ("architecture", *axes.values()), tuple(rows), (note,))


def _cell(score: object) -> str:
    value = getattr(score, "value", None)
    return "–" if value is None else NumberText(short(value), value)


def behind(cards: Sequence[Card]) -> list[tuple[Card, list[str]]]:
    """The shelf of negative results: cards with the references that they are behind."""
    found = ((c, [label for label, side in c.standing.items() if side == "behind"]) for c in cards)
    return [(card, labels) for card, labels in found if labels]


def write_comparison(cards: Sequence[Card], path: Path) -> Path:
    """Writes one HTML page that needs no network; the same cards give the same bytes."""
    numbered = list(axes_of(cards).values())
    labels = list(dict.fromkeys(column.label for card in cards for column in card.columns))
    radars = [(card, radar_svg(card, numbered)) for card in cards]
    text = render(
        "cards.html",
        "experiments.suite",
        title="Score cards",
        cards=cards,
        key=_coded(svg_of(lambda: legend(labels))),
        numbered=numbered,
        most_bits=f"{MOST_BITS:g}",
        radars=[(card, _coded(svg)) for card, svg in radars if svg],
        tables=[comparison_table(cards), scores_table(cards)],
        behind=behind(cards),
    )
    with replacing(path, durable=False) as file:
        file.write(text.encode())
    return path


def _coded(svg: str) -> str:
    return base64.b64encode(svg.encode()).decode()
