"""Whether the answer follows a state that is put in from another question."""

from experiments.results.long_table import Results
from experiments.results.selection import where
from experiments.suite.score import Score, at_best_rate, each_seed, means_along

GRID = "composition"
PROBES = ("interchange",)
TAG = "looping"


def score(runs: Results) -> Score:
    """Share of two-hop answers that follow the donor of the state before the answer.

    Of the loops before the last the one that matters most; floor: donors of other pairs.
    """
    rows = where(at_best_rate(runs.runs), metric="follows_donor", item="answer", difficulty=2)
    rows = rows[(rows["loop"] > 0) & (rows["loop"] < rows["n_loops"])]
    if rows.empty:
        return Score.none("no states were exchanged between two loops")
    by_loop = means_along(rows, "loop")
    loop = max(by_loop, key=lambda at: by_loop[at])
    rows = rows[rows["loop"] == loop]
    unit = f"share of answers that follow the state after loop {loop:g}"
    found = Score.of(each_seed(rows), unit, floor=float(rows["floor"].mean()), ceiling=1.0)
    return found.seen_along("loop", by_loop)
