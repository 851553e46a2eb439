"""Facts composed without writing anything down: two, three and more hops, held out."""

from experiments.results.long_table import Results
from experiments.suite.score import Score, each_seed, held_out, means_along, solves

PROBES = ("accuracy",)
TAG = "composing"


def score(runs: Results) -> Score:
    """Share of the numbers of hops, from two up, that a seed solves, at the best learning rate."""
    rows = held_out(runs.runs)
    rows = rows[rows["difficulty"] >= 2]
    if rows.empty:
        return Score.none("no questions of two hops were asked")
    solved = rows.assign(value=solves(rows["value"]).astype(float))
    found = Score.of(each_seed(solved), "share of hops solved", floor=0.0, ceiling=1.0)
    return found.seen_along("hops, share of seeds", means_along(solved, "difficulty"))
