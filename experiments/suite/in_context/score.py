"""Multi-query associative recall: pairs told in the context, each asked for later."""

from experiments.results.long_table import Results
from experiments.suite.score import Score, held_out, mean_score, means_along

PROBES = ("accuracy",)
TAG = "computing"


def score(runs: Results) -> Score:
    """Accuracy with most pairs; floor: one of the values that no query before had."""
    every = held_out(runs.runs)
    rows = every[every["difficulty"] == every["difficulty"].max()]
    found = mean_score(rows, "accuracy", "no pairs were asked for")
    return found.seen_along("pairs", means_along(every, "difficulty"))
