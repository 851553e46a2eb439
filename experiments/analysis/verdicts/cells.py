"""Runs of two arms, brought together: in cells that share all but the arm, in pairs by seed.

An arm has its own learning rate, so that alone makes no other cell.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from experiments.errors import LoopscopeError
from experiments.results.code_versions import refuse_mixed
from experiments.results.long_table import Results, emergence_step
from experiments.results.row_filter import MEASURED, Condition, select
from experiments.results.selection import difficulty_text, last_loop, series, where
from generators.plugins import nearest
from probes.statistics import SOLVED

if TYPE_CHECKING:
    import pandas as pd

Ability = Literal["capacity", "manipulation", "solved", "steps"]


@dataclass(frozen=True)
class Cell:
    """Values of two arms by seed, in pairs; a step is infinite where a skill never emerged.

    Attributes:
        alone: seeds that only one of the arms has.
        ceilings: the most that A and that B can store per parameter.
        converged: whether both arms have converged; None: not known.
        failed: seeds of A and of B whose run failed.
        beside_failed: values of A and of B in seeds in which the other arm's run failed.
        metric: what the values are; empty where there are none.
    """

    name: str
    a: str
    b: str
    seeds: tuple[int, ...]
    a_values: tuple[float, ...]
    b_values: tuple[float, ...]
    alone: tuple[int, ...] = ()
    floor: float | None = None
    ceilings: tuple[float, float] | None = None
    converged: bool | None = None
    failed: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    beside_failed: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    metric: str = ""

    def outcomes(self, failed: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Values of A and of B, also of seeds in which a run failed, which has this value."""
        (a, b), (beside_a, beside_b) = (self.a_values, self.b_values), self.beside_failed
        lost_a, lost_b = ((failed,) * len(seeds) for seeds in self.failed)
        return (*a, *beside_a, *lost_a), (*b, *beside_b, *lost_b)

    def pairs(self, failed: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Values of A and of B in pairs, also of seeds in which one run failed, which has this."""
        beside_a, beside_b = self.beside_failed
        lost_a, lost_b = ((failed,) * len(beside) for beside in (beside_b, beside_a))
        return (*self.a_values, *beside_a, *lost_a), (*self.b_values, *lost_b, *beside_b)


def cells(
    results: Results,
    ability: Ability,
    *,
    between: tuple[str, str] | None = None,
    by: str = "arm",
    filters: dict[str, Any] | None = None,
    conditions: Sequence[Condition] = (),
) -> list[Cell]:
    """The cells of the results in which both arms were run.

    A cell without pairs stands for an arm of which every run failed.

    Args:
        between: A and B, values of the column `by`; None: the first against each of the others.
        filters: column -> value or values.
        conditions: rows must meet them too; one on the split or the item replaces the usual one,
            one on the loop, here or in `filters`, the last loop, of which rows are otherwise.

    Raises:
        LoopscopeError: results that lack what is to be compared; the message says what they have.
    """
    rows = _rows(results, ability, filters or {}, conditions)
    failed = _failed(results.runs, filters or {}, conditions)
    found: list[Cell] = []
    for pair in _between(rows, failed, by, between):
        of_pair = list(_cells(rows, failed, ability, by, pair))
        found += of_pair or _without_runs(rows, failed, by, pair)
    if not found:
        raise LoopscopeError(
            f"no two values of {by} were run in the same cell with the same seed; --by names "
            "another column, such as objective, and --where chooses rows"
        )
    return found


def _rows(
    results: Results,
    ability: Ability,
    filters: dict[str, Any],
    conditions: Sequence[Condition],
) -> "pd.DataFrame":
    """One row per run and cell, `value` being what is compared."""
    steps = ability == "steps"
    runs = results.curves if steps else results.runs
    names = [str(name) for name in runs["grid"].unique() if name]
    if len(names) > 1:
        raise LoopscopeError(
            f"{results.name} has several grids: {', '.join(names)}; choose with --grid"
        )
    wanted: dict[str, Any] = {"metric": "accuracy", "item": "", "split": "test"}
    if ability == "capacity":
        wanted = {"metric": "bits_per_parameter", "item": "total"}
    wanted = {k: v for k, v in wanted.items() if k not in {c.column for c in conditions}}
    at_loop = "loop" in {*filters, *(c.column for c in conditions)}
    read = runs if at_loop else last_loop(runs)
    rows = select(where(read, **{**wanted, **filters}), conditions)
    rows = rows[rows["value"].notna()]
    if at_loop and (n := rows["loop"].nunique()) > 1:
        raise LoopscopeError(f"the condition on loop leaves {n} loops; choose one, such as loop=4")
    if ability == "solved":
        rows = rows.assign(value=(rows["value"] >= SOLVED).astype(float))
    if rows.empty:
        measured = ", ".join(dict.fromkeys(runs[runs["value"].notna()]["metric"])) or "nothing"
        hint = "; observe.evaluate_every records accuracy while training" if steps else ""
        asked = [f"{k} {v}" for k, v in {**wanted, **filters}.items() if v != ""]
        asked = ", ".join([*asked, *map(str, conditions)])
        raise LoopscopeError(
            f"{results.name} has no rows with {asked}; it measured {measured}{hint}"
        )
    return _emergence(rows) if steps else rows


def _failed(
    runs: "pd.DataFrame", filters: dict[str, Any], conditions: Sequence[Condition]
) -> "pd.DataFrame":
    """A row per failed run that may be meant by the filters."""
    unknown = {*MEASURED, *_KNOWN_WHEN_DONE}
    failed = where(
        runs[runs["status"] == "failed"], **{k: v for k, v in filters.items() if k not in unknown}
    )
    failed = select(failed, [c for c in conditions if c.column not in unknown])
    return failed.drop_duplicates(["part", "run_id"])


#: columns that a failed run lacks, so that no condition on them can choose it
_KNOWN_WHEN_DONE = (
    *("parameters", "embedding_share", "train_flops", "executed_flops"),
    *("exposures", "step"),
    *("layers", "converged", "cpu_seconds"),
)


def _emergence(curves: "pd.DataFrame") -> "pd.DataFrame":
    """The last row of every curve, with the step at which it emerged as `value`, else infinite."""
    import pandas as pd

    found = []
    for _, curve in curves.groupby(["part", "run_id", "difficulty", "component"], dropna=False):
        last = curve.sort_values("step").iloc[[-1]]
        emerged = emergence_step(curve)
        if emerged is None and (last["status"] == "failed").all():
            continue  # it is counted among the failed runs
        found.append(last.assign(value=inf if emerged is None else float(emerged)))
    if not found:
        raise LoopscopeError("every run failed before the skill emerged")
    return pd.concat(found).sort_index()


def _between(
    rows: "pd.DataFrame", failed: "pd.DataFrame", by: str, between: tuple[str, str] | None
) -> list[tuple[str, str]]:
    if by not in rows:
        raise LoopscopeError(f"the results have no column {by!r}{nearest(by, map(str, rows))}")
    known = [str(v) for v in dict.fromkeys([*rows[by], *_alike(rows, failed)[by]])]
    if between is None:
        return [(known[0], other) for other in known[1:]]
    for label in between:
        if label not in known:
            there = ", ".join(known)
            raise LoopscopeError(f"{by} {label!r} is not among those measured: {there}")
    if between[0] == between[1]:
        raise LoopscopeError(
            f"--between needs two different values of {by}, got {between[0]} twice"
        )
    return [between]


def _alike(rows: "pd.DataFrame", failed: "pd.DataFrame") -> "pd.DataFrame":
    """The failed runs of the parts and tasks that are compared."""
    return failed[failed["part"].isin(rows["part"]) & failed["task"].isin(rows["task"])]


def _without_runs(
    rows: "pd.DataFrame", failed: "pd.DataFrame", by: str, pair: tuple[str, str]
) -> Iterator[Cell]:
    """A cell without values for each part in which every run of an arm failed."""
    if set(pair) <= set(rows[by].astype("str")):
        return
    for (part, task), lost in _alike(rows, failed).groupby(["part", "task"], sort=False):
        seeds_a, seeds_b = (_seeds(lost[lost[by].astype("str") == label]) for label in pair)
        if seeds_a or seeds_b:
            yield Cell(str(part or task), *pair, (), (), (), failed=(seeds_a, seeds_b))


def _seeds(runs: "pd.DataFrame") -> tuple[int, ...]:
    return tuple(sorted(map(int, set(runs["seed"]))))


def _cells(
    rows: "pd.DataFrame",
    failed: "pd.DataFrame",
    ability: Ability,
    by: str,
    pair: tuple[str, str],
) -> Iterator[Cell]:
    shared = ["part", "task", "component", "difficulty"]
    chosen = rows[rows[by].astype("str").isin(pair)]
    told = series(chosen, [*shared, by], [])
    for key, cell in chosen.assign(told=told).groupby([*shared, "told"], sort=False, dropna=False):
        part, task, component, difficulty, text = key
        hard = "" if cell["difficulty"].isna().all() else difficulty_text(task, difficulty)
        name = ", ".join(filter(None, [part or task, component, hard, text]))
        refuse_mixed(cell, name)
        arms = [_by_seed(cell[cell[by].astype("str") == label], name, label) for label in pair]
        lost = failed[failed["part"] == part]
        lost_a, lost_b = (
            # the rest of the config says which cell a run without measurements belongs to
            _seeds(
                lost[
                    (lost[by].astype("str") == label)
                    & lost["cell"].isin(arm["cell"])
                    & ~lost["seed"].isin(arm.index)
                ]
            )
            for label, arm in zip(pair, arms, strict=True)
        )
        seeds = sorted(set(arms[0].index) & set(arms[1].index))
        if seeds or (all(map(len, arms)) and (lost_a or lost_b)):
            found = _cell(name, pair, seeds, *arms, steps=ability == "steps")
            beside = _values(arms[0], lost_b), _values(arms[1], lost_a)
            yield replace(found, failed=(lost_a, lost_b), beside_failed=beside)


def _values(arm: "pd.DataFrame", seeds: Sequence[int]) -> tuple[float, ...]:
    return tuple(float(value) for value in arm["value"][arm.index.isin(seeds)])


def _by_seed(rows: "pd.DataFrame", name: str, label: str) -> "pd.DataFrame":
    """The arm's rows indexed by seed.

    Raises:
        LoopscopeError: several runs of one seed.
    """
    rows = rows.drop_duplicates("run_id").set_index("seed")
    if rows.index.has_duplicates:
        twins = rows[rows.index.duplicated(keep=False)]
        differ = [str(c) for c in twins if c not in _NEVER_TOLD and twins[c].nunique() > 1]
        raise LoopscopeError(
            f"{name}: several runs of {label} share a seed; they differ in "
            f"{', '.join(differ) or 'their config'}: choose with --where COLUMN=VALUE"
        )
    return rows


#: measured, or nothing that a person would choose by
_NEVER_TOLD = ("run_id", "value", "floor", "ceiling", "low", "high", "cell", "cpu_seconds")


def _cell(
    name: str,
    pair: tuple[str, str],
    seeds: list[int],
    a: "pd.DataFrame",
    b: "pd.DataFrame",
    *,
    steps: bool,
) -> Cell:
    both = [arm.loc[seeds] for arm in (a, b)]
    x, y = (np.array(arm["value"], float) for arm in both)
    if steps:
        x, y = _comparable_steps(x, y, *(np.array(arm["step"], float) for arm in both))
    known = [arm["converged"].dropna() for arm in both]
    floors, ceilings = ([float(arm[c].mean()) for arm in both] for c in ("floor", "ceiling"))
    return Cell(
        name,
        *pair,
        seeds=tuple(map(int, seeds)),
        a_values=tuple(x.tolist()),
        b_values=tuple(y.tolist()),
        alone=tuple(sorted(map(int, set(a.index) ^ set(b.index)))),
        converged=bool(all(k.all() for k in known)) if all(map(len, known)) else None,
        floor=None if np.isnan(floors).all() else float(np.nanmean(floors)),
        ceilings=None if np.isnan(ceilings).any() else (ceilings[0], ceilings[1]),
        metric=str(a["metric"].iloc[0]),
    )


def _comparable_steps(
    a: np.ndarray, b: np.ndarray, end_a: np.ndarray, end_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A skill that came after the other arm's training had ended says nothing: both infinite."""
    unknown = (np.isinf(a) & (b > end_a)) | (np.isinf(b) & (a > end_b))
    return np.where(unknown, inf, a), np.where(unknown, inf, b)
