"""How often training works: over seeds and learning rates."""

from experiments.results.long_table import Results
from experiments.results.selection import last_loop, where
from experiments.suite.score import Score, each_seed, solves

GRID = "composition"
PROBE = "accuracy"
TAG = "composing"


def score(runs: Results) -> Score:
    """Share of all runs, whatever their learning rate, that solve two hops."""
    rows = where(runs.runs, metric="accuracy", split="test", item="", difficulty=2)
    rows = last_loop(rows)
    if rows.empty:
        return Score.none("no questions of two hops were asked")
    found = each_seed(rows.assign(value=solves(rows["value"]).astype(float)))
    return Score.of(found, "share of runs that solve two hops", floor=0.0, ceiling=1.0)
