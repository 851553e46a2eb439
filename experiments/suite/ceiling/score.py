"""Bits stored per parameter when training ends."""

from experiments.results.long_table import Results
from experiments.results.selection import last_loop, where
from experiments.suite.score import Score, mean_score

PROBE = "capacity_biod"
TAG = "storing"


def score(runs: Results) -> Score:
    """Bits of names and values for each parameter that counts; ceiling: all there is to store."""
    rows = where(runs.runs, metric="bits_per_parameter", item="total")
    return mean_score(last_loop(rows), "bits/parameter", "no bits were measured")
