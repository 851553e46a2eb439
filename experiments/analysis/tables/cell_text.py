"""Text of the cells of tables, each with the number that it sorts by."""

from math import nan
from typing import TYPE_CHECKING, Any

from experiments.results.selection import over_seeds
from experiments.text import NumberText, number

if TYPE_CHECKING:
    import pandas as pd

#: the ends of all shares
SHORT = {"0.00": "0", "1.00": "1"}
#: where a run has not been measured on its training questions
UNKNOWN = NumberText("absent", nan)


def mean_text(rows: "pd.DataFrame", digits: int = 2, solved: bool = False) -> str:
    """`1.25 1.08–1.42`, and of accuracies `0.693 .12–.99 2/3`: see `summary_of`."""
    if rows["value"].isna().all():
        return "–"
    row = over_seeds(rows, ["metric"]).iloc[0]
    text = f"{row['mean']:z.{digits}f}"
    if row["low"] is not None:
        low, high = (f"{end:z.2f}" for end in (row["low"], row["high"]))
        if solved:
            low, high = (SHORT.get(end, end.removeprefix("0")) for end in (low, high))
        text += f" {low} to {high}" if row["low"] < 0 else f" {low}–{high}"
    if solved and row["n"] > 1:
        text += f" {round(row['solved'] * row['n'])}/{row['n']}"
    return NumberText(text, row["mean"])


def plain_mean(rows: "pd.DataFrame", digits: int = 2) -> str:
    """Mean accuracy on training questions; a word where it was not measured."""
    values = rows.drop_duplicates("run_id")["value"]
    return UNKNOWN if values.isna().all() else fixed(values.mean(), digits)


def plain(value: Any) -> str:
    """A number of a run as it stands, `–` where there is none; words stay."""
    import pandas as pd

    if pd.isna(value):
        return "–"
    if isinstance(value, str | bool):
        return str(value)
    return number(value) if isinstance(value, float) else count(value)


def count(n: int) -> NumberText:
    return NumberText(str(n), n)


def fixed(value: float, digits: int = 2) -> NumberText:
    return NumberText(f"{value:z.{digits}f}", value)


def percent(share: float) -> NumberText:
    return NumberText(f"{share:.0%}", share)


def parameters(cell: "pd.DataFrame", column: str = "parameters") -> str:
    """`55.9k`, or from the fewest to the most where the runs of a row differ."""
    ends = cell[column].min(), cell[column].max()
    return NumberText(" to ".join(map(number, dict.fromkeys(ends))), ends[0])
