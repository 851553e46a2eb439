"""Bits stored per parameter after few exposures."""

from experiments.results.long_table import Results
from experiments.results.selection import last_loop, where
from experiments.suite.score import Score, bits_score

GRID = "ceiling"
PROBES = ("capacity_biod", "capacity")
TAG = "storing"


def score(runs: Results) -> Score:
    """Bits at the first evaluation during training; ceiling: all there is to store."""
    rows = last_loop(where(runs.curves, metric="bits_per_parameter", item="total"))
    first = rows[rows["step"] == rows["step"].min()]
    return bits_score(first, "no bits were measured during training")
