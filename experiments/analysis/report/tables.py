"""The tables of a page: the numbers by which they sort, and one of every run."""

import json
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
from experiments.text import NumberText, TextTable, number

if TYPE_CHECKING:
    import pandas as pd

#: columns of words; the others are set to the right
WORDS = ("reason", "run", "run_id")
#: heading -> column of what a table of runs says of each
FACTS = {
    "seed": "seed",
    "lr": "lr",
    "params": "parameters",
    "steps": "step",
    "FLOPs": "train_flops",
    "executed": "executed_flops",
    "CPU s": "cpu_seconds",
}
#: tables of so many rows can be filtered
LONG = 6


def data_value(cell: str) -> str | None:
    """The number of a cell for JavaScript; words and what was not measured have none."""
    if not isinstance(cell, NumberText) or cell.value != cell.value:
        return None
    return json.dumps(cell.value)


def columns_of_words(table: TextTable) -> list[bool]:
    """Whether each column holds words, which stand to the left, and not numbers."""
    return [
        name in WORDS
        or any(row[i] not in ("", "–") and not isinstance(row[i], NumberText) for row in table.rows)
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
    return number(value)


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
