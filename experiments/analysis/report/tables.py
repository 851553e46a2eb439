"""Tables as HTML: plain without scripts, and with keys by which a script sorts them."""

import math
import re
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from experiments.analysis.report.markup import Html, element
from experiments.results.selection import (
    DESCRIPTIONS,
    axis_columns,
    describe,
    difficulty_text,
    last_loop,
    varying,
)
from experiments.text import TextTable, number

if TYPE_CHECKING:
    import pandas as pd

UNITS = {"": 1.0, "%": 0.01, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_NUMBER = re.compile(r"([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)([%kMGTP]?)(?=\s|$)")
#: columns of words; the others are set to the right
WORDS = ("reason", "run", "run_id")
#: heading -> column of what a table of runs says of each
FACTS = {
    "seed": "seed",
    "lr": "lr",
    "params": "parameters",
    "steps": "step",
    "FLOPs": "train_flops",
    "CPU s": "cpu_seconds",
}
#: tables of so many rows can be filtered
LONG = 6


def sort_key(text: str) -> float | None:
    """The number that a cell begins with: 55.9k, 98 %, `1.23 ±0.04`; never is infinite.

    None for words and for what was not measured.
    """
    if text.split(" ")[0] == "never":
        return math.inf
    found = _NUMBER.match(text.replace("−", "-").replace("< .", "0."))
    return float(found[1]) * UNITS[found[2]] if found else None


def table_html(table: TextTable) -> Html:
    """A table in a region of its own that scrolls sideways where the screen is narrow."""
    body, footer = table.rows, ()
    if len(body) > 1 and body[-1][0] == "floor" and table.columns[0] == "arm":
        body, footer = body[:-1], body[-1:]  # a floor is no arm to be sorted among them
    cells = zip(*body, strict=True) if body else [()] * len(table.columns)
    words = [
        c in WORDS or any(map(_is_word, column))
        for c, column in zip(table.columns, cells, strict=True)
    ]
    head = [
        element("th", column, scope="col", class_="words" if w else None)
        for column, w in zip(table.columns, words, strict=True)
    ]
    parts = [
        element("caption", table.title),
        element("thead", element("tr", head)),
        element("tbody", [_row(row, words) for row in body]),
    ]
    if footer:
        parts.append(element("tfoot", [_row(row, words) for row in footer]))
    kinds = " ".join(
        name for name, yes in (("sortable", len(body) > 1), ("long", len(body) >= LONG)) if yes
    )
    region = element(
        "div",
        element("table", parts, class_=kinds or None),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=table.title,
    )
    notes = element("p", " ".join(table.notes), class_="note") if table.notes else None
    return element("div", region, notes, class_="table")


def _is_word(text: str) -> bool:
    return text not in ("", "–") and sort_key(text) is None


def _row(row: tuple[str, ...], words: list[bool]) -> Html:
    cells = [element("th", row[0], scope="row", data_sort=_key(row[0]))]
    cells += [
        element("td", text, class_="words" if word else None, data_sort=_key(text))
        for text, word in zip(row[1:], words[1:], strict=True)
    ]
    return element("tr", cells)


def _key(text: str) -> str | None:
    key = sort_key(text)
    return None if key is None else "Infinity" if math.isinf(key) else repr(key)


def run_tables(runs: "pd.DataFrame") -> list[TextTable]:
    """Every run of a part in a row, with what was measured at its last loop."""
    return [_run_table(str(part), rows) for part, rows in runs.groupby("part", sort=False)]


def _run_table(part: str, rows: "pd.DataFrame") -> TextTable:
    labels = [c for c in axis_columns(rows) if c != "seed"]
    apart = varying(rows, ["arm"], ["width", *labels, *DESCRIPTIONS])
    shown: dict[str, dict[str, str]] = {}
    for row in last_loop(rows).to_dict("records"):
        shown.setdefault(str(row["run_id"]), {}).update(_value(row))
    values = list(dict.fromkeys(name for of_run in shown.values() for name in of_run))
    lines = []
    for row in rows.drop_duplicates(["run_id", "arm", *apart]).to_dict("records"):
        run_id = str(row["run_id"])
        name = ", ".join([str(row["arm"]), *(describe(c, row[c]) for c in apart)])
        facts = (_known(row[fact]) for fact in FACTS.values())
        measured = (shown.get(run_id, {}).get(value, "–") for value in values)
        lines.append((name, *facts, *measured, str(row["status"]), run_id))
    title = f"{part}: every run" if part else "every run"
    return TextTable(title, ("arm", *FACTS, *values, "status", "run"), tuple(lines))


def _known(value: Any) -> str:
    import pandas as pd

    return "–" if pd.isna(value) else number(value)


def _value(row: dict[Hashable, Any]) -> dict[str, str]:
    """Heading -> number of a row that a table of runs shows; empty for the others."""
    if row["value"] != row["value"]:
        return {}
    component = f"{row['component']}, " if row["component"] else ""
    if row["metric"] == "bits_per_parameter" and row["item"] == "total":
        return {f"{component}bits/param": f"{row['value']:z.3f}"}
    if row["metric"] == "accuracy" and not row["item"] and row["split"] == "test":
        asked = difficulty_text(row["task"], row["difficulty"])
        return {f"{component}{asked}": f"{row['value']:.3f}"}
    return {}
