"""Bits stored per parameter when training ends."""

from experiments.results.long_table import Results
from experiments.results.selection import last_loop, where
from experiments.suite.score import Score, bits_score

PROBES = ("capacity_biod", "capacity")
TAG = "storing"
#: share of all there is to store above which what a model can hold is not seen
FULL = 0.95


def score(runs: Results) -> Score:
    """Bits of names and values for each parameter that counts; ceiling: all there is to store.

    A model that stores nearly all there is could hold more, and has no value.
    """
    rows = last_loop(where(runs.runs, metric="bits_per_parameter", item="total"))
    found = bits_score(rows, "no bits were measured")
    if found.value is None or found.value < FULL * (found.ceiling or 0.0):
        return found
    told = f"{found.value:.2f} of {found.ceiling:.2f} {found.unit}"
    return Score.none(f"nearly all there is to store, {told}: it may hold more")
