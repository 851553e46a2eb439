"""Loops that an exit rule saves at equal accuracy."""

from typing import TYPE_CHECKING

from experiments.results.long_table import Results
from experiments.results.selection import where
from experiments.suite.score import Score, at_best_rate

if TYPE_CHECKING:
    import pandas as pd

GRID = "composition"
PROBES = ("exits",)
TAG = "looping"
#: accuracies that differ by no more are equal
EQUAL = 0.01


def score(runs: Results) -> Score:
    """1 - mean loops / n of the rule that runs fewest at an accuracy within .01 of all loops.

    The rule is chosen on the questions it is measured on, which flatters it a little. A seed that
    has not learnt the questions has nothing to save.
    """
    rows = where(at_best_rate(runs.runs), metric=["exit_accuracy", "exit_loops"], split="test")
    if rows.empty:
        return Score.none("no exits were measured")
    n = int(rows["n_loops"].iloc[0])
    if n < 2:
        return Score.none("one loop: there is nothing to leave out")
    found = {int(str(seed)): _saved(of_seed, n) for seed, of_seed in rows.groupby("seed")}
    known = {seed: saved for seed, saved in found.items() if saved is not None}
    if not known:
        return Score.none("no seed answers half of what lies above the floor: nothing to save")
    score = Score.of(known, "share of loops saved", floor=0.0, ceiling=1 - 1 / n)
    return score.model_copy(update={"common": 1.0})  # half of two loops is half of four


def _saved(rows: "pd.DataFrame", n: int) -> float | None:
    table = rows.pivot_table(index="item", columns="metric", values="value", aggfunc="mean")
    table = table.dropna()  # the gate itself has no accuracy
    everything = float(str(table.loc["all", "exit_accuracy"]))
    floor = where(rows, metric="exit_accuracy")["floor"].mean()
    if everything < (1 + floor) / 2:
        return None
    equal = table[table["exit_accuracy"] >= everything - EQUAL]
    return float(1 - equal["exit_loops"].min() / n)
