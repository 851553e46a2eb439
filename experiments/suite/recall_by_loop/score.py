"""Stored facts that the head reads before the last loop."""

from experiments.results.long_table import Results
from experiments.results.selection import where
from experiments.suite.score import Score, each_seed, means_along

GRID = "ceiling"
PROBES = ("capacity_biod", "capacity")
TAG = "storing"
#: bits per parameter below which there is nothing to read
LEAST = 0.1


def score(runs: Results) -> Score:
    """Bits read after the best loop but the last, as a share of those read after the last.

    Nothing is read where that head is surer of what is wrong than a guess from the pools; the
    bits themselves, behind the score, are below 0 there.
    """
    rows = where(runs.runs, metric="bits_per_parameter", item="total")
    early, late = rows[rows["loop"] < rows["n_loops"]], rows[rows["loop"] == rows["n_loops"]]
    if late.empty:
        return Score.none("no bits were measured")
    if int(late["n_loops"].iloc[0]) < 2:
        return Score.none("one loop: there is none before the last")
    if early.empty:
        return Score.none("no bits were measured before the last loop")
    stored = each_seed(late)
    if min(stored.values()) < LEAST:
        return Score.none(f"less than {LEAST:g} bits per parameter are stored: nothing to read")
    loop = early.groupby("loop")["value"].mean().idxmax()
    read = each_seed(early[early["loop"] == loop])
    shares = {seed: max(bits / stored[seed], 0.0) for seed, bits in read.items()}
    found = Score.of(shares, f"share of the bits, after loop {loop:g}", floor=0.0, ceiling=1.0)
    return found.seen_along("loop, bits/parameter", means_along(rows, "loop"))
