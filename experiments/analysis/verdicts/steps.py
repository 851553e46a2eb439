"""Whether an arm needs fewer steps: of curves, some of which may never get there."""

from math import inf, isfinite, isinf, log2

import numpy as np

from experiments.analysis.verdicts.cells import Cell
from experiments.analysis.verdicts.claims import (
    ALPHA,
    FEWEST_SIGNS,
    FEWEST_T,
    FISHER,
    NO_PAIRS,
    ONE_PAIR,
    SIGNS,
    Verdict,
    VerdictLabel,
)
from probes.statistics import (
    Difference,
    fisher_test,
    paired_difference,
    seeds_for_difference,
    sign_test,
)


def fewer_steps(cell: Cell, level: float) -> Verdict:
    """Paired t of log2 steps where every pair emerged, else an exact test.

    Where at most half of all runs emerged there is little order among steps, and Fisher's test
    compares how many did; elsewhere the sign test counts pairs, with never last. The choice
    depends on the runs of both arms together, so that neither test errs more often than it says.
    """
    a, b = cell.outcomes(failed=inf)
    n_reached = sum(map(isfinite, (*a, *b)))
    if not n_reached:
        return Verdict(cell, "no verdict", "the skill emerges in no run while both arms train")
    every = all(map(isfinite, (*cell.a_values, *cell.b_values)))
    if len(cell.seeds) >= FEWEST_T and every:
        log_a, log_b = (tuple(map(log2, v)) for v in (cell.a_values, cell.b_values))
        return _by_ratio(cell, paired_difference(log_a, log_b, level))
    if min(len(a), len(b)) > 1 and 2 * n_reached <= len(a) + len(b):
        return _by_share(cell, a, b)
    if len(cell.seeds) < 2:
        return Verdict(cell, "no verdict", ONE_PAIR if cell.seeds else NO_PAIRS)
    return _by_signs(cell)


def _by_share(cell: Cell, a: tuple[float, ...], b: tuple[float, ...]) -> Verdict:
    """Fisher's exact test of how many seeds the skill emerged in."""
    count_a, count_b = (sum(map(isfinite, values)) for values in (a, b))
    n_a, n_b = len(a), len(b)
    p = fisher_test(count_a, n_a, count_b, n_b)
    least = fisher_test(n_a, n_a, 0, n_b)
    if least < ALPHA:
        more = count_b / n_b > count_a / n_a
        clear: VerdictLabel = "supported" if more else "contradicted"
        return Verdict(cell, clear if p < ALPHA else "undecided", p=p, test=FISHER)
    seeds = f"{n_a} seeds an arm" if n_a == n_b else f"{n_a} and {n_b} seeds"
    reason = f"{seeds} are too few: all against none has p {least:.2g}; 4 would do, before Holm"
    return Verdict(cell, "undecided", reason, p=p, seeds_needed=4, test=FISHER)


def _by_signs(cell: Cell) -> Verdict:
    """Sign test of the pairs, a skill that never emerged being later than any other."""
    p = sign_test(cell.a_values, cell.b_values)
    less = np.sign(np.subtract(*_ranks(cell)))
    n, differ = len(less), int(np.abs(less).sum())
    if p < ALPHA:
        label: VerdictLabel = "supported" if less.sum() > 0 else "contradicted"
        return Verdict(cell, label, p=p, seeds_needed=_one_way(less), test=SIGNS)
    reason = ""
    if differ < FEWEST_SIGNS:
        reason = (
            f"{differ} of {n} pairs of seeds differ, and a sign test needs {FEWEST_SIGNS} or more, "
            "all going one way"
        )
    return Verdict(cell, "undecided", reason, p=p, seeds_needed=_one_way(less), test=SIGNS)


def _one_way(signs: np.ndarray) -> int | None:
    return FEWEST_SIGNS if abs(signs.sum()) == len(signs) else None


def _ranks(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Finite stand-ins in the same order: infinity minus infinity is no tie."""
    largest = max(v for v in (*cell.a_values, *cell.b_values) if not isinf(v))
    a, b = (np.minimum(v, 2 * largest) for v in (cell.a_values, cell.b_values))
    return a, b


def _by_ratio(cell: Cell, found: Difference) -> Verdict:
    """Paired t test of log2 B / A, which is negative where B needs fewer steps."""
    clear: VerdictLabel = "supported" if found.mean < 0 else "contradicted"
    return Verdict(
        cell,
        clear if found.p < ALPHA else "undecided",
        "",
        *(found.mean, found.low, found.high, found.p, None, found.effect),
        seeds_needed=seeds_for_difference(found.effect) if found.effect else None,
    )
