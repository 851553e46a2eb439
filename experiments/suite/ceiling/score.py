"""Bits stored per parameter when training ends."""

from experiments.results.long_table import Results
from experiments.results.selection import last_loop, where
from experiments.suite.score import Score, bits_score

PROBE = "capacity_biod"
TAG = "storing"
#: share of all there is to store above which more might have been stored of a larger world
FULL = 0.95


def score(runs: Results) -> Score:
    """Bits of names and values for each parameter that counts; ceiling: all there is to store.

    The unit says so where nearly everything is stored: what the model could hold is more then.
    """
    rows = last_loop(where(runs.runs, metric="bits_per_parameter", item="total"))
    found = bits_score(rows, "no bits were measured")
    if found.value is None or found.value < FULL * (found.ceiling or 0.0):
        return found
    told = f"{found.unit}, nearly all there is to store: it may hold more"
    return found.model_copy(update={"unit": told})
