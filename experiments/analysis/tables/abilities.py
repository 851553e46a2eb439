"""Tables with a row per arm, seeds summarised: how these are made, bits stored, runs not done."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from experiments.analysis.tables.cell_text import (
    count,
    fixed,
    mean_text,
    parameters,
    percent,
    plain,
)
from experiments.results.code_versions import refuse_mixed
from experiments.results.selection import (
    DESCRIPTIONS,
    axis_columns,
    describe,
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
INTERVAL = "low–high: 95 % interval of the mean over seeds."
WITHOUT_ROWS = "P: what bits/param counts of params, without rows of words that never occur."
EVERY_ROW = (
    "bits/param counts all params, measured before rows of words that never occur were left out; "
    "`loopscope probe` measures again."
)
BELOW_NOTHING = "Below 0: worse than an even guess among all that is possible."
#: relative difference from which executed FLOPs are shown beside nominal ones
ABOUT = 0.05
#: questions below which their number is told
FEW = 100


def capacity_table(title: str, done: "pd.DataFrame", by: Sequence[str] = ()) -> TextTable | None:
    """Bits per parameter: what is stored of names and of values, and the most there is to store."""
    rows = where(done, metric="bits_per_parameter", item=["name", "value", "total"])
    if rows.empty:
        return None
    counted = where(done, metric="counted_parameters").drop_duplicates("run_id")
    counted = rows["run_id"].map(counted.set_index("run_id")["value"])
    rows = rows.assign(counted=counted.astype("float64").fillna(rows["parameters"]))
    fewer = (rows["counted"] < rows["parameters"]).any()

    def of(item: str) -> CellText:
        return lambda cell: fixed(where(cell, item=item)["value"].mean())

    columns: dict[str, CellText] = {
        "params": parameters,
        **({"P": partial(parameters, column="counted")} if fewer else {}),
        "embed": lambda cell: percent(cell["embedding_share"].iloc[0]),
        **flops_columns(rows),
        "exposures": lambda cell: number(cell["exposures"].mean()),
        "bits/param": _if_shown(lambda cell: mean_text(where(cell, item="total")), "not shown"),
        "names": _if_shown(of("name")),
        "values": _if_shown(of("value")),
        "R_max": lambda cell: fixed(where(cell, item="total")["ceiling"].mean()),
        "R/R_max": _if_shown(_share_of_ceiling),
    }
    if rows["converged"].notna().any():
        columns["converged"] = _converged
    title = f"{title}: bits stored per parameter"
    told = ((WITHOUT_ROWS, fewer), (EVERY_ROW, counted.isna().any()))
    which = tuple(note for note, holds in told if holds)
    table = arm_table(title, rows, "exposures", columns, (INTERVAL,), by, which)
    table = replace(
        table, spare=("embed", "executed", "FLOPs", "names", "values", "params", "R_max")
    )
    below = any(row[table.columns.index("bits/param")].startswith("-") for row in table.rows)
    return replace(table, notes=(*table.notes, BELOW_NOTHING)) if below else table


def unfinished_table(
    runs: "pd.DataFrame", curves: "pd.DataFrame | None" = None
) -> TextTable | None:
    """The runs that failed, stopped, never began or are damaged, and why."""
    torn = {} if curves is None else curves.attrs.get("left_out", {})
    rows = runs[(runs["status"] != "done") | runs["run_id"].isin(torn)].drop_duplicates("run_id")
    if rows.empty:
        return None
    columns = ["run_id", "part", "arm", "seed", "status", "step", "reason"]
    reasons = {name: f"curves are left out: {why}" for name, why in torn.items()}
    told = [reasons.get(i, why) for i, why in zip(rows["run_id"], rows["reason"], strict=True)]
    damaged = (rows["status"].isin(["damaged"]) | rows["run_id"].isin(torn)).sum()
    cells = rows.assign(reason=told)[columns].astype("object").fillna("")
    lines = tuple(tuple(map(plain, line)) for line in cells.itertuples(index=False, name=None))
    title = f"{'Not done or damaged' if damaged else 'Not done'}: "
    title += f"{len(lines)} of {runs['run_id'].nunique()} runs"
    title += f" ({damaged} damaged)" if damaged else ""
    return TextTable(title, tuple(columns), lines)


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
        lines.append((name, count(n), *(text(cell) for text in columns.values())))
    notes = (ONE_SEED,) if seeds == {1} else notes
    return TextTable(title, ("arm", "seeds", *columns), tuple(lines), (*notes, *always))


def _table_by(
    title: str,
    rows: "pd.DataFrame",
    by: Sequence[str],
    columns: dict[str, CellText],
    notes: tuple[str, ...],
) -> TextTable:
    for _, cell in rows.groupby(list(by), dropna=False):
        refuse_mixed(cell, f"--by {','.join(by)}")
    cells = [
        (
            (
                *map(plain, key),
                count(cell["run_id"].nunique()),
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


def flops_columns(rows: "pd.DataFrame") -> dict[str, CellText]:
    """Nominal FLOPs of training, and those executed where they are not about the same."""

    def of(column: str) -> CellText:
        return lambda cell: plain(cell[column].mean())

    differ = (rows["executed_flops"] / rows["train_flops"] - 1).abs() > ABOUT
    executed = {"executed": of("executed_flops")} if differ.any() else {}
    return {"FLOPs": of("train_flops"), **executed}


def _if_shown(text: CellText, otherwise: str = "–") -> CellText:
    """`text`, but for facts that were never shown and are not known from elsewhere."""

    def of(cell: "pd.DataFrame") -> str:
        known = (where(cell, item="total")["value"] > 0).any()
        return text(cell) if known or (cell["exposures"] != 0).any() else otherwise

    return of


def _share_of_ceiling(cell: "pd.DataFrame") -> str:
    total = where(cell, item="total")
    return percent((total["value"] / total["ceiling"]).mean())


def _converged(cell: "pd.DataFrame") -> str:
    known = where(cell, item="total")["converged"].dropna()
    return "–" if known.empty else "yes" if known.all() else "no"
