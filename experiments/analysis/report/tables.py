"""The tables of a page: the numbers by which they sort, and one of every run."""

import json
import re
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

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


class NumberText(str):
    """A number as a table prints it, with the value that it sorts by."""

    value: float

    def __new__(cls, text: str, value: float) -> "NumberText":
        made = super().__new__(cls, text)
        made.value = float(value)
        return made


def data_value(cell: str) -> str | None:
    """The number in a cell for JavaScript; words and what was not measured have none.

    The tables shared with the terminal hold text alone, such as 55.9k, 98% or `1.23 ±0.04`; there
    it is the number that the text begins with, and infinity for `never`.
    """
    if isinstance(cell, NumberText):
        return json.dumps(cell.value)
    if cell.split(" ")[0] == "never":
        return "Infinity"
    found = _NUMBER.match(cell)
    return json.dumps(float(found[1]) * UNITS[found[2]]) if found else None


def columns_of_words(table: TextTable) -> list[bool]:
    """Whether each column holds words, which stand to the left, and not numbers."""
    return [
        name in WORDS
        or any(row[i] not in ("", "–") and data_value(row[i]) is None for row in table.rows)
        for i, name in enumerate(table.columns)
    ]


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

    if pd.isna(value):
        return "–"
    return str(value) if isinstance(value, str) else NumberText(number(value), value)


def _value(row: dict[Hashable, Any]) -> dict[str, str]:
    """Heading -> number of a row that a table of runs shows; empty for the others."""
    if row["value"] != row["value"]:
        return {}
    component = f"{row['component']}, " if row["component"] else ""
    if row["metric"] == "bits_per_parameter" and row["item"] == "total":
        return {f"{component}bits/param": NumberText(f"{row['value']:z.3f}", row["value"])}
    if row["metric"] == "accuracy" and not row["item"] and row["split"] == "test":
        asked = difficulty_text(row["task"], row["difficulty"])
        return {f"{component}{asked}": NumberText(f"{row['value']:.3f}", row["value"])}
    return {}
