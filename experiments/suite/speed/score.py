"""Bits stored per parameter after few exposures."""

from experiments.results.long_table import Results
from experiments.results.selection import last_loop, where
from experiments.suite.score import Score, mean_score

GRID = "ceiling"
PROBE = "capacity_biod"
TAG = "storing"


def score(runs: Results) -> Score:
    """Bits at the first evaluation during training; ceiling: all there is to store.

    Everyone is shown once a step, so that a step is an exposure.
    """
    rows = last_loop(where(runs.curves, metric="bits_per_parameter", item="total"))
    first = rows[rows["step"] == rows["step"].min()]
    return mean_score(first, "bits/parameter", "no bits were measured during training")
