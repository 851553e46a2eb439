"""Totals of bioD that version 1 of its probe measured, shown as version 2 counts them."""

import json
from pathlib import Path

import pytest

import experiments
from experiments.results.recounting import recounted

REFERENCE = Path(experiments.__file__).parent / "reference" / "capacity"


def test_the_committed_totals_are_those_of_name_and_value() -> None:
    files = sorted(REFERENCE.glob("biod-*/result.json"))
    assert len(files) == 18
    for file in files:
        before = json.loads(file.read_text(encoding="utf-8"))["measurements"]
        after = recounted(before)
        assert len(after) == len(before)
        for metric in ("bits", "bits_per_parameter"):
            old, new = (
                {r["item"]: r["value"] for r in rows if r["metric"] == metric}
                for rows in (before, after)
            )
            assert old["strings"] < 0 == new["strings"]
            assert new["total"] == pytest.approx(new["name"] + new["value"], rel=1e-12)
            assert (new["name"], new["value"]) == (old["name"], old["value"])
        (bits,) = [r for r in after if (r["metric"], r["item"]) == ("bits", "total")]
        (ratio,) = [r for r in after if (r["metric"], r["item"]) == ("capacity_ratio", "total")]
        assert ratio["value"] == pytest.approx(bits["value"] / bits["ceiling"], rel=1e-12)
        assert bits["low"] is None and bits["high"] is None, "they are not known"
        assert recounted(after) is after


def test_strings_that_can_be_known_are_counted() -> None:
    rows = [
        {"metric": "bits", "item": item, "loop": 1, "value": value, "ceiling": 5.0}
        for item, value in (("name", 2.0), ("value", 3.0), ("strings", 1.0), ("total", 6.0))
    ]
    assert recounted(rows) is rows
