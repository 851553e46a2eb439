"""Questions of three hops through layers of people, in words."""

from experiments.results.long_table import Results
from experiments.suite.score import Score, held_out, mean_score, means_along

PROBES = ("accuracy",)
TAG = "composing"


def score(runs: Results) -> Score:
    """Accuracy on held-out questions; floor: the commonest answer to the same relations."""
    found = mean_score(held_out(runs.runs), "accuracy", "no questions were asked")
    return found.seen_along("step", means_along(held_out(runs.curves), "step"))
