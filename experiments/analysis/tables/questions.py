"""Tables of questions: accuracy by difficulty, and the step at which it emerges."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from statistics import median
from typing import TYPE_CHECKING

from experiments.analysis.tables.abilities import CellText, arm_table, flops_columns
from experiments.analysis.tables.cell_text import (
    fixed,
    mean_text,
    parameters,
    plain_mean,
)
from experiments.results.long_table import EMERGED, emergence_step
from experiments.results.selection import (
    difficulties_of,
    where,
)
from experiments.text import NumberText, TextTable, number

if TYPE_CHECKING:
    import pandas as pd

#: of intervals of accuracies, and why they are as wide as they are
SHARES = "low–high: 95 % interval of the mean over seeds, allowing for seeds unlike those seen."
SOLVED = "k/n: seeds that reach .95."
#: what the name of a column of accuracies on training questions begins with
BESIDE = "train, "
#: item of an accuracy among the questions that have one value of a latent, such as `depth 2`
ONE_VALUE = r"\S+ \d+"


def accuracy_table(title: str, done: "pd.DataFrame", by: Sequence[str] = ()) -> TextTable | None:
    """Accuracy by difficulty on questions held out of training, with its floors.

    Beside it stands the mean accuracy on training questions of that difficulty: who does not fit
    those has not failed to generalise. A difficulty of which nothing is held out is shown on the
    questions trained on, and says so.
    """
    rows = where(done, metric="accuracy", item="")
    if rows.empty:
        return None
    split = next(s for s in ("test", "validation", *rows["split"]) if s in set(rows["split"]))
    rows, fitted = _questions(rows, split)
    asked = _accuracies(rows, fitted, split)
    columns: dict[str, CellText] = {
        "params": parameters,
        **flops_columns(rows),
        "steps": lambda cell: number(cell["step"].mean()),
        **asked,
    }
    beside = tuple(name for name in asked if name.startswith(BESIDE))
    kind = {"test": "held-out", "validation": "validation"}.get(split, split)
    title = f"{title}: accuracy on {kind} questions"
    always = ("train: mean on the training questions.",) if beside else ()
    table = arm_table(title, rows, "step", columns, (SHARES, SOLVED), by, always=always)
    spare = ("executed", "FLOPs", "params", "steps", *beside)
    return replace(_with_floors(table, rows, tuple(asked), beside), spare=spare)


def _questions(rows: "pd.DataFrame", split: str) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Accuracies on questions of a split, or on those of training where none are in it.

    With them, apart, those on training questions. Both have a column `question`, its name.
    """
    asked, seen = rows["split"] == split, rows["split"] == "train"
    only_seen = seen & ~rows["difficulty"].isin(rows["difficulty"][asked])
    fitted = rows[seen].assign(question=difficulties_of(rows[seen]))
    rows = rows[asked | only_seen].sort_values("difficulty", kind="stable")
    suffixes = (", seen" if s == "train" else "" for s in rows["split"])
    names = zip(difficulties_of(rows), suffixes, strict=True)
    return rows.assign(question=[name + suffix for name, suffix in names]), fitted


def _accuracies(rows: "pd.DataFrame", fitted: "pd.DataFrame", split: str) -> "dict[str, CellText]":
    """A column for each question of `_questions`, and one of training beside what is held out."""
    trained_on = set(rows["question"][rows["split"] == "train"])

    def of(question: str) -> CellText:
        if question in trained_on and split != "train":
            return lambda cell: plain_mean(where(cell, question=question), 3)
        return lambda cell: mean_text(where(cell, question=question), digits=3, solved=True)

    def on_training(question: str) -> CellText:
        of_question = where(fitted, question=question)
        return lambda cell: plain_mean(of_question[of_question["run_id"].isin(cell["run_id"])])

    columns: dict[str, CellText] = {}
    for question in dict.fromkeys(rows["question"]):
        columns[question] = of(question)
        if question not in trained_on:
            columns[f"{BESIDE}{question}"] = on_training(question)
    return columns


def _with_floors(
    table: TextTable, rows: "pd.DataFrame", asked: Sequence[str], without: Sequence[str] = ()
) -> TextTable:
    """The table with a last row: the mean floor of each of its last columns, `asked`."""
    floors = (
        inf if name in without else where(rows, question=name)["floor"].mean() for name in asked
    )
    blank = ("",) * (len(table.columns) - 1 - len(asked))
    return replace(table, rows=(*table.rows, ("floor", *blank, *map(_floor, floors))))


def _floor(value: float) -> str:
    """The floor of a column; empty (infinity) for accuracies on training questions."""
    return "" if value == inf else "–" if value != value else fixed(value, 3)


def property_table(title: str, done: "pd.DataFrame", by: Sequence[str] = ()) -> TextTable | None:
    """Accuracy by a latent of the questions (probe `accuracy_by`), with its floors."""
    rows = where(done, metric="accuracy")
    rows = rows[rows["item"].str.fullmatch(ONE_VALUE)]
    rows = rows.sort_values(["difficulty", "item"], kind="stable")
    if rows.empty:
        return None
    names = zip(difficulties_of(rows), rows["item"], rows["split"], strict=True)
    rows = rows.assign(question=[f"{d}, {item}{_seen(split)}" for d, item, split in names])

    def of(question: str) -> CellText:
        return lambda cell: mean_text(where(cell, question=question), digits=3)

    columns = {question: of(question) for question in dict.fromkeys(rows["question"])}
    latents = " and ".join(dict.fromkeys(item.rpartition(" ")[0] for item in rows["item"]))
    table = arm_table(f"{title}: accuracy by {latents}", rows, "step", columns, (SHARES,), by)
    return _with_floors(table, rows, tuple(columns))


def _seen(split: str) -> str:
    """What is added to the name of a question of a split."""
    return {"test": "", "train": ", seen"}.get(split, f", {split}")


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
            if not reached:
                return NumberText(f"never {share}", inf)
            typical = median(reached)
            return NumberText(f"{number(typical)} {share}", typical)

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
