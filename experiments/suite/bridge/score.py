"""The entity on the way, read off the state before the last loop."""

from experiments.results.long_table import Results
from experiments.results.selection import where
from experiments.suite.score import Score, at_best_rate, each_seed, means_along

GRID = "composition"
PROBES = ("lens",)
TAG = "looping"


def score(runs: Results) -> Score:
    """Share of two-hop questions whose bridge the head reads after the best loop but the last.

    Floor: the commonest bridge entity. The unit names the first loop after which the bridge is
    read halfway from there to all of them.
    """
    rows = where(at_best_rate(runs.runs), metric="lens_accuracy", item="hop.1", difficulty=2)
    if rows.empty:
        return Score.none("no states were read")
    by_loop, halfway = means_along(rows, "loop"), (float(rows["floor"].mean()) + 1) / 2
    decodable = [f"{loop:g}" for loop, value in by_loop.items() if value >= halfway]
    rows = rows[rows["loop"] < rows["n_loops"]]
    if rows.empty:
        return Score.none("one loop: there is none before the last")
    loop = rows.groupby("loop")["value"].mean().idxmax()
    rows = rows[rows["loop"] == loop]
    since = f"from loop {decodable[0]}" if decodable else "after no loop"
    unit = f"share of bridges read, halfway to all {since}, here after loop {loop:g}"
    found = Score.of(each_seed(rows), unit, floor=float(rows["floor"].mean()), ceiling=1.0)
    return found.seen_along("loop", by_loop)
