"""Share of the stored bits that weights of 8 and of 4 bits still hold."""

from experiments.results.long_table import Results
from experiments.results.selection import last_loop, where
from experiments.suite.score import Score, each_seed

GRID = "ceiling"
PROBES = ("capacity_biod", "capacity")
TAG = "storing"
#: bits per parameter below which there is nothing to lose
LEAST = 0.1


def score(runs: Results) -> Score:
    """Mean of the shares kept at 8 and at 4 bits a weight, of each seed.

    Weights that are surer of what is wrong than a guess from the pools keep nothing.
    """
    rows = last_loop(where(runs.runs, item="total"))
    stored, fine, coarse = (
        each_seed(where(rows, metric=f"bits_per_parameter{ending}"))
        for ending in ("", "_int8", "_int4")
    )
    if not stored or not fine or not coarse:
        return Score.none("no bits were measured after rounding")
    if min(stored.values()) < LEAST:
        return Score.none(f"less than {LEAST:g} bits per parameter are stored: nothing to lose")
    at = {
        bits: {seed: max(left[seed] / whole, 0.0) for seed, whole in stored.items()}
        for bits, left in ((8, fine), (4, coarse))
    }
    kept = {seed: (at[8][seed] + at[4][seed]) / 2 for seed in stored}
    shares = {bits: sum(of.values()) / len(of) for bits, of in at.items()}
    found = Score.of(kept, "share of the bits", floor=0.0, ceiling=1.0)
    return found.seen_along("bits of a weight", shares)
