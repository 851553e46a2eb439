"""How often training works: over seeds and learning rates."""

from experiments.results.long_table import Results
from experiments.results.selection import last_loop, where
from experiments.suite.score import Score, each_seed, means_along, solves

GRID = "composition"
PROBES = ("accuracy",)
TAG = "composing"


def score(runs: Results) -> Score:
    """Share of all runs, whatever their learning rate, that solve two hops.

    The unit names the rates at which every seed does.
    """
    rows = where(runs.runs, metric="accuracy", split="test", item="", difficulty=2)
    rows = last_loop(rows)
    if rows.empty:
        return Score.none("no questions of two hops were asked")
    solved = rows.assign(value=solves(rows["value"]).astype(float))
    by_rate = means_along(solved, "lr")
    works = [f"{rate:g}" for rate, share in by_rate.items() if share == 1]
    unit = f"share of runs that solve two hops; every seed at {_and(works) or 'no rate'}"
    found = Score.of(each_seed(solved), unit, floor=0.0, ceiling=1.0)
    return found.seen_along("learning rate, share of seeds", by_rate)


def _and(texts: list[str]) -> str:
    """
    >>> _and(["1", "2", "3"]), _and(["1"])
    ('1, 2 and 3', '1')
    """
    *first, last = texts or [""]
    return f"{', '.join(first)} and {last}" if first else last
