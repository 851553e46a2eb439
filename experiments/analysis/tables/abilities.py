"""A table for each ability measured: a row per arm, seeds summarised, beside floor or ceiling."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

from experiments.results.long_table import EMERGED, emergence_step
from experiments.results.selection import (
    DESCRIPTIONS,
    axis_columns,
    describe,
    difficulties_of,
    over_seeds,
    varying,
    where,
)
from experiments.text import TextTable, number

if TYPE_CHECKING:
    import pandas as pd

#: text for one column, from the rows of one cell
CellText: TypeAlias = "Callable[[pd.DataFrame], str]"

ONE_SEED = "One seed: a demonstration, not a result."
SEVERAL = "Rows bring together runs that differ in more than their seed: --by tells them apart."
INTERVAL = "± half the 95 % t interval over seeds."
SOLVED = "k/n: seeds that reach .95."
BELOW_NOTHING = "Below 0: worse than an even guess among all that is possible."
#: questions below which their number is told
FEW = 100


def capacity_table(title: str, done: "pd.DataFrame", by: Sequence[str] = ()) -> TextTable | None:
    """Bits per parameter: what is stored of names and of values, and the most there is to store."""
    rows = where(done, metric="bits_per_parameter", item=["name", "value", "total"])
    if rows.empty:
        return None

    def of(item: str) -> CellText:
        return lambda cell: f"{where(cell, item=item)['value'].mean():z.2f}"

    columns: dict[str, CellText] = {
        "params": _parameters,
        "embed": lambda cell: f"{cell['embedding_share'].iloc[0]:.0%}",
        "FLOPs": lambda cell: number(cell["train_flops"].mean()),
        "exposures": lambda cell: number(cell["exposures"].mean()),
        "bits/param": _if_shown(lambda cell: mean_text(where(cell, item="total")), "not shown"),
        "names": _if_shown(of("name")),
        "values": _if_shown(of("value")),
        "R_max": lambda cell: f"{where(cell, item='total')['ceiling'].mean():z.2f}",
        "R/R_max": _if_shown(_share_of_ceiling),
    }
    if rows["converged"].notna().any():
        columns["converged"] = _converged
    title = f"{title}: bits stored per parameter"
    table = arm_table(title, rows, "exposures", columns, (INTERVAL,), by)
    below = any(row[table.columns.index("bits/param")].startswith("-") for row in table.rows)
    return replace(table, notes=(*table.notes, BELOW_NOTHING)) if below else table


def accuracy_table(title: str, done: "pd.DataFrame", by: Sequence[str] = ()) -> TextTable | None:
    """Accuracy by difficulty on questions held out of training, with its floors.

    A difficulty of which nothing is held out is shown on the questions trained on, and says so.
    """
    rows = where(done, metric="accuracy", item="")
    if rows.empty:
        return None
    split = next(s for s in ("test", "validation", *rows["split"]) if s in set(rows["split"]))
    held_out = rows["split"] == split
    only_seen = (rows["split"] == "train") & ~rows["difficulty"].isin(rows["difficulty"][held_out])
    rows = rows[held_out | only_seen].sort_values("difficulty", kind="stable")
    seen = (", seen" if s == "train" else "" for s in rows["split"])
    rows = rows.assign(
        question=[name + suffix for name, suffix in zip(difficulties_of(rows), seen, strict=True)]
    )

    def of(question: str) -> CellText:
        return lambda cell: mean_text(where(cell, question=question), digits=3, solved=True)

    questions = list(dict.fromkeys(rows["question"]))
    columns: dict[str, CellText] = {
        "params": _parameters,
        "FLOPs": lambda cell: number(cell["train_flops"].mean()),
        "steps": lambda cell: number(cell["step"].mean()),
        **{question: of(question) for question in questions},
    }
    kind = {"test": "held-out", "validation": "validation"}.get(split, split)
    title = f"{title}: accuracy on {kind} questions"
    table = arm_table(title, rows, "step", columns, (INTERVAL, SOLVED), by)
    floors = ("–" if f != f else f"{f:.3f}" for f in map(_floor(rows), questions))
    blank = ("",) * (len(table.columns) - 1 - len(questions))
    return replace(table, rows=(*table.rows, ("floor", *blank, *floors)))


def emergence_table(
    title: str, trained: "pd.DataFrame", by: Sequence[str] = ()
) -> TextTable | None:
    """The first evaluated step at which the held-out accuracy of each difficulty reaches .9.

    The median of the seeds that get there, and how many do. Skills of composition appear in one
    jump, which a final score does not show.
    """
    rows = where(trained, metric="accuracy", item="", split="test")
    rows = rows[rows["difficulty"].notna()].sort_values("difficulty", kind="stable")
    if rows.empty:
        return None
    rows = rows.assign(question=difficulties_of(rows))

    def of(question: str) -> CellText:
        def text(cell: "pd.DataFrame") -> str:
            curves = where(cell, question=question).groupby("run_id")
            steps = [emergence_step(c.assign(step=c["at"])) for _, c in curves]
            reached = [step for step in steps if step is not None]
            share = f"{len(reached)}/{len(steps)}"
            return f"{number(median(reached))} {share}" if reached else f"never {share}"

        return text

    columns: dict[str, CellText] = {q: of(q) for q in dict.fromkeys(rows["question"])}
    last = rows.groupby("run_id")["step"].transform("max")
    note = "k/n: seeds that reach it, and how many there are."
    return arm_table(
        f"{title}: step at which held-out accuracy reaches {EMERGED:g}, median of seeds that do",
        rows.assign(step=last, at=rows["step"]).sort_values("n_loops", kind="stable"),
        "step",
        columns,
        (note,),
        by,
    )


def unfinished_table(runs: "pd.DataFrame") -> TextTable | None:
    """The runs that failed, stopped or never began, and why."""
    rows = runs[runs["status"] != "done"].drop_duplicates("run_id")
    if rows.empty:
        return None
    columns = ["run_id", "part", "arm", "seed", "status", "step", "reason"]
    text = rows[columns].astype("object").fillna("").astype("str")
    title = f"Not done: {len(text)} of {runs['run_id'].nunique()} runs"
    return TextTable(title, tuple(columns), tuple(text.itertuples(index=False, name=None)))


def arm_table(
    title: str,
    rows: "pd.DataFrame",
    length: str,
    columns: dict[str, CellText],
    notes: tuple[str, ...],
    by: Sequence[str] = (),
    always: tuple[str, ...] = (),
) -> TextTable:
    """A row per arm and `length` of training; what else differs stands behind the arm's name.

    With `by` a row per combination of the values of those columns. `notes` are about seeds,
    `always` stands below also where there is one; where questions are few, another note says so.
    """
    always = (*always, *_few(rows))
    if by:
        return _table_by(title, rows, by, columns, (*notes, *always))
    labels = [c for c in axis_columns(rows) if c not in ("seed", "question", "at")]
    apart = varying(rows, ["arm", length], ["width", *labels, *DESCRIPTIONS])
    lines, seeds = [], set()
    keys = ["arm", *apart, length]
    for (arm, *values, _), cell in rows.groupby(keys, sort=False, dropna=False):
        name = ", ".join([str(arm), *map(describe, apart, values)])
        n = cell["run_id"].nunique()
        seeds.add(n)
        lines.append((name, str(n), *(text(cell) for text in columns.values())))
    notes = (ONE_SEED,) if seeds == {1} else notes
    return TextTable(title, ("arm", "seeds", *columns), tuple(lines), (*notes, *always))


def _table_by(
    title: str,
    rows: "pd.DataFrame",
    by: Sequence[str],
    columns: dict[str, CellText],
    notes: tuple[str, ...],
) -> TextTable:
    cells = [
        (
            (
                *map(_key, key),
                str(cell["run_id"].nunique()),
                *(text(cell) for text in columns.values()),
            ),
            cell["cell"].nunique(),
        )
        for key, cell in rows.groupby(list(by), dropna=False)
    ]
    several = (SEVERAL,) if any(n > 1 for _, n in cells) else ()
    head = (*by, "runs" if several else "seeds", *columns)
    return TextTable(title, head, tuple(line for line, _ in cells), (*notes, *several))


def _few(rows: "pd.DataFrame") -> Iterator[str]:
    """A note on difficulties with few held-out questions, which make an accuracy coarse."""
    if "question" not in rows:
        return
    counts = rows[rows["split"] != "train"].groupby("question", sort=False)["n_items"].min()
    few = [f"{n} of {question}" for question, n in counts.dropna().items() if n < FEW]
    if few:
        yield f"Few questions, so that an accuracy is rough: {', '.join(few)}."


def _key(value: Any) -> str:
    import pandas as pd

    return "–" if pd.isna(value) else number(value) if isinstance(value, float) else str(value)


def _parameters(cell: "pd.DataFrame") -> str:
    """`55.9k`, or from the fewest to the most where the runs of a row differ."""
    ends = cell["parameters"].min(), cell["parameters"].max()
    return " to ".join(map(number, dict.fromkeys(ends)))


def mean_text(rows: "pd.DataFrame", digits: int = 2, solved: bool = False) -> str:
    if rows["value"].isna().all():
        return "–"
    row = over_seeds(rows, ["metric"]).iloc[0]
    text = f"{row['mean']:z.{digits}f}"
    if row["n"] == 1:
        return text
    text += f" ±{row['high'] - row['mean']:.{digits}f}"
    return f"{text} {round(row['solved'] * row['n'])}/{row['n']}" if solved else text


def _if_shown(text: CellText, otherwise: str = "–") -> CellText:
    """`text`, but for facts that were never shown and are not known from elsewhere."""

    def of(cell: "pd.DataFrame") -> str:
        known = (where(cell, item="total")["value"] > 0).any()
        return text(cell) if known or (cell["exposures"] != 0).any() else otherwise

    return of


def _floor(rows: "pd.DataFrame") -> Callable[[str], float]:
    return lambda question: where(rows, question=question)["floor"].mean()


def _share_of_ceiling(cell: "pd.DataFrame") -> str:
    total = where(cell, item="total")
    return f"{(total['value'] / total['ceiling']).mean():.0%}"


def _converged(cell: "pd.DataFrame") -> str:
    known = where(cell, item="total")["converged"].dropna()
    return "–" if known.empty else "yes" if known.all() else "no"
