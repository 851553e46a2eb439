"""Modular arithmetic without writing anything down (Mano), at full length."""

from experiments.results.long_table import Results
from experiments.suite.score import Score, held_out, mean_score, means_along

PROBES = ("accuracy",)
TAG = "computing"


def score(runs: Results) -> Score:
    """Accuracy on held-out expressions of most operators; floor: the commonest value."""
    every = held_out(runs.runs)
    rows = every[every["difficulty"] == every["difficulty"].max()]
    found = mean_score(rows, "accuracy", "no expressions were asked for")
    return found.seen_along("operators", means_along(every, "difficulty"))
