"""What leaving the loops early costs and saves: a row per arm and rule, from the probe `exits`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from experiments.analysis.tables.abilities import INTERVAL, CellText, arm_table
from experiments.analysis.tables.cell_text import mean_text
from experiments.results.selection import difficulties_of, joined, where
from experiments.text import TextTable

if TYPE_CHECKING:
    import pandas as pd

#: accuracy that a rule may cost for the loops it saves
COST = 0.01
NOTE = (
    f"Of each family of rules the threshold of fewest loops that costs at most {COST:g} of the "
    "accuracy of all loops, chosen on these very questions. gate: the loops that it expects."
)


def exits_table(title: str, done: "pd.DataFrame", by: Sequence[str] = ()) -> TextTable | None:
    """Accuracy and mean loops by difficulty, of one threshold for each family of exit rules.

    Models of a single loop, which have nowhere to leave, are left out.
    """
    rows = where(done, metric=["exit_accuracy", "exit_loops"])
    rows = rows[rows["n_loops"] > 1].sort_values("difficulty", kind="stable")
    if rows.empty:
        return None
    kept = {
        (cell, rule) for cell, measured in rows.groupby("cell") for rule in _thresholds(measured)
    }
    rows = rows[[key in kept for key in zip(rows["cell"], rows["item"], strict=True)]]
    rows = rows.assign(question=difficulties_of(rows))
    columns: dict[str, CellText] = {}
    for question in dict.fromkeys(rows["question"]):
        columns[question] = _of(question, "exit_accuracy", digits=3)
        columns[f"loops, {question}"] = _of(question, "exit_loops", digits=2)
    if by:
        by = [*by, "rule"]
    else:
        rows = rows.assign(arm=joined(rows["arm"], rows["item"].replace("all", "all loops")))
    title = f"{title}: accuracy and mean loops by exit rule"
    rows = rows.assign(rule=rows["item"].map(_family))
    return arm_table(title, rows, "step", columns, (INTERVAL,), by, always=(NOTE,))


def _of(question: str, metric: str, digits: int) -> CellText:
    return lambda cell: mean_text(where(cell, question=question, metric=metric), digits=digits)


def _family(rule: str) -> str:
    """`quantile q=0.5` -> `quantile`."""
    return rule.partition(" ")[0]


def _thresholds(cell: "pd.DataFrame") -> Iterator[str]:
    """The rule of each family to show: of fewest loops at little cost, else the most accurate."""
    means = cell.groupby(["item", "metric"], sort=False)["value"].mean().unstack()
    means = means.reindex(columns=["exit_accuracy", "exit_loops"])
    enough = means["exit_accuracy"].get("all", means["exit_accuracy"].max()) - COST
    for _, family in means.groupby(_family, sort=False):
        right = family["exit_accuracy"].dropna()
        cheap = family["exit_loops"][right.index[right >= enough]].dropna()
        if right.empty:  # the gate's own expectation, which answers nothing
            yield from map(str, family.index)
        else:
            yield str(right.idxmax() if cheap.empty else cheap.idxmin())
