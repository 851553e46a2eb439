"""Accuracy when other numbers of loops are run than were trained."""

from experiments.results.long_table import Results
from experiments.results.selection import where
from experiments.suite.score import Score, at_best_rate, mean_score, means_along

GRID = "composition"
PROBES = ("extrapolation",)
TAG = "looping"


def score(runs: Results) -> Score:
    """Mean accuracy on two hops at half, twice and four times the loops that were trained."""
    rows = where(at_best_rate(runs.runs), metric="loops_accuracy", difficulty=2)
    if rows.empty:
        return Score.none("no other numbers of loops were run")
    trained = int(rows["n_loops"].iloc[0])
    if trained < 2:
        return Score.none("one loop: there is no half of it")
    asked = [trained // 2, 2 * trained, 4 * trained]
    every = rows[rows["loop"].isin([*asked, trained])]
    rows = rows[rows["loop"].isin(asked)]
    if missing := sorted(set(asked) - set(rows["loop"])):
        limit = where(runs.runs, metric="loop_limit")["value"]
        told = f"; there are weights for {limit.iloc[0]:.0f}" if len(limit) else ""
        return Score.none(f"{missing[0]} loops cannot be run{told}")
    return mean_score(rows, "accuracy", "").seen_along("loops", means_along(every, "loop"))
