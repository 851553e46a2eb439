"""A card as files: JSON, Markdown, an SVG of the radar, and one HTML page that holds them all."""

import base64
import io
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.analysis.report.page import render
from experiments.runs.json_files import replacing
from experiments.suite.card import Card, Column, Interval
from experiments.suite.grid import NAME, name_of
from experiments.suite.radar import FEWEST, radar, radar_data
from experiments.suite.score import MOST_BITS, Score
from experiments.text import NumberText, TextTable, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

#: of a table of scores
CELL = (
    "value (low–high: 95 % interval over seeds) [floor–ceiling], n seeds",
    "what is above a floor is what the ability adds",
)
AGGREGATE = (
    "Interquartile mean of (x − floor)/(ceiling − floor), bits per parameter out of "
    f"{MOST_BITS:g} whatever the ceiling, over the axes that all architectures have; P(better): a "
    "run of the model beats one of the reference, over shared axes; both with stratified "
    "bootstraps over seeds, which are too narrow for fewer than about ten."
)


def card_table(card: Card) -> TextTable:
    """Axes in rows, architectures in columns; every cell with interval, bounds and seeds."""
    rows = [
        (axis.title, *(score_text(column.scores[name]) for column in card.columns))
        for name, axis in card.axes.items()
    ]
    means = (interval_text(c.interquartile_mean) for c in card.columns)
    rows.append((f"interquartile mean, {len(card.shared)} of {len(card.axes)} axes", *means))
    better = (_better(card, column) for column in card.columns[1:])
    rows.append(("P(model better)", "– the model itself", *better))
    title = f"{card.title} ({card.label}), size {card.size}"
    notes = (f"{'; '.join(CELL)}.", AGGREGATE, *_missing(card))
    heads = ("axis", *(column.label for column in card.columns))
    return TextTable(title, heads, tuple(rows), notes)


def _better(card: Card, column: Column) -> str:
    """`.7 (.6–.8), 9 axes`: on how many both have a value."""
    if column.improvement is None:
        return interval_text(None)
    both = card.columns[0].normalised(card.axes).keys() & column.normalised(card.axes).keys()
    return (
        f"{interval_text(column.improvement)}, {len(both)} {'axis' if len(both) == 1 else 'axes'}"
    )


def score_text(score: Score) -> str:
    """`.73 (.5–.9) [.12–1] 3 seeds`, or why there is none."""
    if score.value is None:
        return f"– {score.reason}"
    between = "" if score.low is None else f" ({short(score.low)}–{short(score.high)})"
    bounds = f"[{short(score.floor)}–{short(score.ceiling)}]"
    seeds = f"{score.seeds} seed{'s' * (score.seeds != 1)}"
    return NumberText(f"{short(score.value)}{between} {bounds} {seeds}", score.value)


def cost_table(card: Card) -> TextTable:
    """What a run of each architecture took in each grid of the suite."""
    rows = []
    for column in card.columns:
        for grid, cost in column.costs.items():
            seconds = "–" if cost.cpu_seconds is None else number(cost.cpu_seconds)
            answering = (_number(cost.forward_flops), _number(cost.cache_bytes))
            numbers = (number(cost.parameters), number(cost.train_flops), seconds)
            rows.append((column.label, grid, number(cost.runs), *numbers, *answering))
    heads = ("architecture", "grid", "runs", "params", "training FLOPs", "CPU s")
    heads += ("FLOPs a document", "cache bytes a token")
    notes = (
        "Averages over runs. FLOPs a document: one forward pass of all loops over it; "
        "cache: keys and values of every block that runs, which shared caches and exits make less.",
    )
    return TextTable("Of one run", heads, tuple(rows), notes)


def settings_table(card: Card) -> TextTable | None:
    """What is scored, with every default; None for a card that does not tell it."""
    rows = [
        (part, " · ".join(f"{name} {plain(value)}" for name, value in fields.items()))
        for part, fields in card.settings.items()
        if fields
    ]
    notes = ("Defaults are filled in; the width is that of each grid.",)
    return TextTable("What is scored", ("part", "settings"), tuple(rows), notes) if rows else None


def plain(value: object) -> str:
    """A value of a configuration, as a grid file says it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def curves_table(card: Card) -> TextTable | None:
    """What is behind the scores, by loop, hops, learning rate; None where there is none."""
    rows = []
    for name, axis in card.axes.items():
        scores = [column.scores[name] for column in card.columns]
        if along := next((score.along for score in scores if score.curve), ""):
            rows.append((f"{axis.title} ({along})", *map(curve_text, scores)))
    heads = ("axis", *(column.label for column in card.columns))
    return TextTable("Means over seeds", heads, tuple(rows)) if rows else None


def curve_text(score: Score) -> str:
    """
    >>> curve_text(Score(curve={"1": 0.25, "4": 1.0}))
    '1: .25 · 4: 1'
    """
    return " · ".join(f"{place}: {short(v)}" for place, v in score.curve.items()) or "–"


def _number(value: float | None) -> str:
    return "–" if value is None else number(value)


def axes_table(card: Card) -> TextTable:
    """What each axis asks, and what its number counts."""
    rows = [
        (axis.title, axis.tag, axis.about, card.columns[0].scores[name].unit or "–")
        for name, axis in card.axes.items()
    ]
    return TextTable("The axes", ("axis", "group", "about", "unit"), tuple(rows))


def markdown(card: Card) -> str:
    """For a README or an appendix."""
    parts = [card_table(card), curves_table(card), cost_table(card), axes_table(card)]
    parts.append(settings_table(card))
    return "\n\n".join(part.markdown() for part in parts if part) + "\n"


def write_card(card: Card, folder: Path, out: Path) -> list[Path]:
    """Writes `card.json`, `card.md`, `card.html` and, of three axes and more, `radar.svg`.

    The same card gives the same bytes.

    Args:
        out: the folder of the runs, for the commands on the page.
    """
    svg = radar_svg(card)
    files = {
        "card.json": card.model_dump_json(indent=1) + "\n",
        "card.md": markdown(card),
        "card.html": page(card, svg, folder, out),
        "radar.svg": svg,
    }
    written = []
    for name, text in files.items():
        if text:
            with replacing(folder / name, durable=False) as file:
                file.write(text.encode())
            written.append(folder / name)
    return written


def radar_svg(card: Card, numbered: Sequence[str] | None = None) -> str:
    """The radar as SVG; empty where there are too few axes.

    Args:
        numbered: see `radar`.
    """
    data = radar_data(card)
    if data["axis"].nunique() < FEWEST:
        return ""
    return svg_of(lambda: radar(data, numbered))


def svg_of(draw: Callable[[], "Picture"]) -> str:
    """A picture as SVG text, the same for the same picture."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "loopscope"}):
        draw().savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return buffer.getvalue().decode()


def page(card: Card, svg: str, folder: Path, out: Path) -> str:
    """One HTML page that needs no network."""
    return render(
        "card.html",
        "experiments.suite",
        title=f"Score card: {card.title}",
        card=card,
        radar=base64.b64encode(svg.encode()).decode(),
        most_bits=f"{MOST_BITS:g}",
        no_radar=FEWEST,
        tables=[card_table(card), cost_table(card), axes_table(card)],
        curves=curves_table(card),
        settings=settings_table(card),
        recorded=recorded_text(card) if card.recorded else "",
        commands=[shlex.join(["loopscope", *words]) for words in _commands(card, folder, out)],
    )


def _commands(card: Card, folder: Path, out: Path) -> list[list[str]]:
    grid = str(folder / f"{NAME}.yaml")
    return [
        ["plan", grid, "--out", str(out)],
        ["run", grid, "--out", str(out)],
        ["report", str(out), "--grid", name_of(card.name)],
    ]


def _missing(card: Card) -> list[str]:
    found = [f"No {label}: {reason}." for label, reason in card.missing.items()]
    if card.recorded:
        found.append(f"{recorded_text(card)}.")
    if card.unfinished:
        found.append(f"{card.unfinished} runs are not done.")
    return found


def recorded_text(card: Card) -> str:
    """Where runs of references that were not trained beside the model come from."""
    return f"{card.recorded} runs of references are those of record {card.references}"


def interval_text(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    ends = "" if interval.low is None else f" ({short(interval.low)}–{short(interval.high)})"
    return NumberText(f"{short(interval.value)}{ends}", interval.value)


def short(value: float | None) -> str:
    """
    >>> short(0.7312), short(2.0), short(-0.04), short(0.0)
    ('.73', '2', '-.04', '0')
    """
    if value is None:
        return "–"
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    if "." in text and abs(value) < 1:
        return text.replace("0.", ".", 1)
    return "0" if text == "-0" else text
