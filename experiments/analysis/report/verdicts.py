"""Verdicts on the claims of the question, as a table and in words."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from experiments.analysis.verdicts.cells import Cell, cells
from experiments.analysis.verdicts.claims import HYPOTHESES, Hypothesis, Verdict
from experiments.analysis.verdicts.text import DOES, MORE, SENTENCES, UNITS, paragraph
from experiments.analysis.verdicts.verdicts import judge
from experiments.errors import LoopscopeError
from experiments.results.long_table import Results
from experiments.text import NumberText, TextTable
from generators.plugins import nearest

#: the outcome of a cell that cannot be judged
NONE = "no verdict"
#: what is said of loops: they store as much, compute more, and learn to in fewer steps
QUESTION = ("capacity-equal", "manipulation-better", "needs-fewer-steps")


@dataclass(frozen=True)
class Judged:
    """What results say about one claim; without verdicts, why not.

    Attributes:
        meaning: the claim in words.
        outcomes: outcome -> cells that have it.
        words: a paragraph per cell, in lines.
    """

    claim: str
    meaning: str
    outcomes: dict[str, int]
    table: TextTable | None = None
    words: tuple[tuple[str, ...], ...] = ()
    reason: str = ""


def check_hypotheses(names: tuple[str, ...]) -> None:
    """Raises LoopscopeError for a claim that nobody can judge."""
    for name in names:
        if name not in HYPOTHESES:
            raise LoopscopeError(
                f"--claim {name!r}{nearest(name, HYPOTHESES)}: it is one of {', '.join(HYPOTHESES)}"
            )


def judged(results: Results, name: str) -> Judged:
    """The verdicts on a claim in the results of a grid, B against the grid's first arm A."""
    claim = HYPOTHESES[name]
    try:
        found = judge(cells(results, claim.ability), claim)
        verdicts = sorted(found, key=lambda verdict: verdict.outcome == NONE)
    except LoopscopeError as error:
        # the list of all that was measured instead helps whoever can choose, not a reader
        return Judged(
            name, meaning(claim), {}, reason=re.sub("; it measured [^;]*", "", str(error))
        )
    outcomes = [v.outcome for v in verdicts]
    tested = sum(v.p_holm is not None for v in verdicts)
    words = tuple(tuple(paragraph(v, claim, tested).split("\n  ")) for v in verdicts)
    difference = "B / A, steps" if claim.ability == "steps" else "B − A"
    columns = ("where", "verdict", "B against A", difference)
    columns += (f"{100 * claim.level:.0f} % interval", "p (Holm)", "seeds", "reason")
    rows = tuple(_row(verdict, claim) for verdict in verdicts)
    notes = ("Over seeds; p corrected after Holm over the cells of this table.",)
    title = f"{name}: cell by cell"
    return Judged(
        name,
        meaning(claim),
        {o: outcomes.count(o) for o in dict.fromkeys(outcomes)},
        TextTable(title, columns, rows, notes),
        words,
    )


def first_with_verdicts(claims: Iterable[Judged]) -> list[Judged]:
    """Claims that the results decide or leave undecided, then those that they cannot judge."""
    return sorted(claims, key=lambda claim: not set(claim.outcomes) - {NONE})


def answers(claims: Iterable[Judged]) -> list[tuple[str, str, int, int]]:
    """(claim, outcome, cells that have it, cells judged); a claim without verdicts says so."""
    found = []
    for claim in claims:
        counts = {o: n for o, n in claim.outcomes.items() if o != NONE} or claim.outcomes
        found += [(claim.claim, o, n, sum(counts.values())) for o, n in counts.items()]
    return found


def meaning(claim: Hypothesis) -> str:
    """Such as `B stores more than A`."""
    does, much = DOES.get(claim.ability, ("", ""))
    more = MORE.get(much, ("", ""))[0]
    words = {"does": does, "much": much, "more": more, "unit": UNITS[claim.ability]}
    sentence = SENTENCES[claim.relation]["supported"]
    return sentence.format(a="A", b="B", margin=claim.margin, **words)


def _row(verdict: Verdict, claim: Hypothesis) -> tuple[str, ...]:
    cell = verdict.cell

    def shown(*values: float | None) -> str:
        known = [2**v if claim.ability == "steps" else v for v in values if v is not None]
        if len(known) < len(values):
            return "–"
        form = ".2f" if claim.ability == "steps" else "+z.3f"
        return NumberText(" to ".join(format(v, form) for v in known), known[0])

    p = verdict.p_apart_holm if verdict.beyond(claim.margin) else verdict.p_holm
    return (
        cell.name,
        verdict.outcome,
        f"{cell.b} against {cell.a}",
        shown(verdict.difference),
        shown(verdict.low, verdict.high),
        "–" if p is None else NumberText(f"{p:.2g}", p),
        NumberText(_seeds(cell), len(cell.seeds)),
        verdict.reason,
    )


def _seeds(cell: Cell) -> str:
    """`3`, or `3, 1 failed`: pairs of seeds, and runs that failed."""
    failed = sum(map(len, cell.failed))
    return f"{len(cell.seeds)}, {failed} failed" if failed else str(len(cell.seeds))
