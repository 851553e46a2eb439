"""What older versions of probes measured, counted as the present versions count, from its parts.

Version 1 of `capacity_biod` charged for not knowing an attribute's strings where every string is
one, so that there is nothing to know: their bits were negative and stood in the total. The parts
are stored, so the total is that of name and value, as version 2 has it.
"""

from typing import Any

SUMMED = ("bits", "bits_per_parameter")
Key = tuple[Any, Any, Any]


def recounted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The measurements of a result, of which totals are as they would be measured today.

    Their intervals, which are not known, are left out. `rows` itself where nothing differs.
    """
    charged = {
        _key(row): row["value"]
        for row in rows
        if row["metric"] in SUMMED and row.get("item") == "strings"
        if row.get("ceiling") == 0 and row.get("value")
    }
    if not charged:
        return rows
    for row in rows:  # the share of the ceiling is charged as much as the bits are, in its unit
        key = _key(row)
        if key in charged and row["metric"] == "bits" and row.get("item") == "total":
            charged["capacity_ratio", *key[1:]] = charged[key] / row["ceiling"]
    return [_recounted(row, charged) for row in rows]


def _key(row: dict[str, Any]) -> Key:
    return row["metric"], row.get("component", ""), row.get("loop")


def _recounted(row: dict[str, Any], charged: dict[Key, float]) -> dict[str, Any]:
    charge, item = charged.get(_key(row)), row.get("item")
    if charge is None or row.get("value") is None:
        return row
    if item == "strings" and row["metric"] in SUMMED:
        return {**row, "value": 0.0, "low": 0.0, "high": 0.0}
    return (
        {**row, "value": row["value"] - charge, "low": None, "high": None}
        if item == "total"
        else row
    )
