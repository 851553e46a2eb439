"""Facts that were never composed in training, composed (the split `ood`)."""

from experiments.results.long_table import Results
from experiments.suite.score import Score, held_out, mean_score

PROBES = ("accuracy",)
TAG = "composing"


def score(runs: Results) -> Score:
    """Accuracy on compositions of two facts of which neither was composed in training."""
    return mean_score(held_out(runs.runs, "ood"), "accuracy", "no such facts were asked for")
