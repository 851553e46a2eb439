"""Modular arithmetic without writing anything down (Mano), at full length."""

from experiments.results.long_table import Results
from experiments.suite.score import Score, held_out, mean_score

PROBE = "accuracy"
TAG = "computing"


def score(runs: Results) -> Score:
    """Accuracy on held-out expressions of most operators; floor: the commonest value."""
    rows = held_out(runs.runs)
    rows = rows[rows["difficulty"] == rows["difficulty"].max()]
    return mean_score(rows, "accuracy", "no expressions were asked for")
