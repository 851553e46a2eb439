"""Verdicts as a person reads them, a sentence with its numbers, and as data for programs."""

from math import inf, isfinite, isinf
from statistics import mean, median
from typing import Any

from experiments.analysis.verdicts.cells import Cell
from experiments.analysis.verdicts.claims import FISHER, REPEATS, SIGNS, Hypothesis, Verdict
from experiments.results.long_table import EMERGED
from experiments.text import number
from probes.statistics import SOLVED, Share

#: what is said of B and A, by relation and outcome
SENTENCES = {
    "equal": {
        "supported": "{b} {does} as {much} as {a}, within ±{margin:g} {unit}",
        "contradicted": "{b} and {a} differ by more than {margin:g} {unit}",
        "undecided": "it is not shown that {b} {does} as {much} as {a} within ±{margin:g} {unit}, "
        "nor that they differ by more",
    },
    "different": {
        "supported": "{b} and {a} differ",
        "undecided": "it is not shown that {b} and {a} differ (which does not make them equal)",
    },
    "better": {
        "supported": "{b} {does} {more} than {a}",
        "contradicted": "{b} {does} {less} than {a}",
        "undecided": "it is not shown that {b} {does} {more} than {a}",
    },
    "fewer": {
        "supported": "{b} needs fewer steps than {a}",
        "contradicted": "{b} needs more steps than {a}",
        "undecided": "it is not shown that {b} needs fewer steps than {a}",
    },
}
#: what an arm does, and the word between `as` and `as` beside another arm
DOES = {
    "capacity": ("stores", "much"),
    "manipulation": ("answers right", "often"),
    "solved": (f"reaches {SOLVED:g}", "seeds"),
}
#: more and less of it
MORE = {
    "much": ("more", "less"),
    "often": ("more often", "less often"),
    "seeds": ("in more seeds", "in fewer seeds"),
}
UNITS = {
    "capacity": "bits per parameter",
    "manipulation": "accuracy",
    "solved": "share of seeds",
    "steps": "steps",
}
#: ability -> what is usually compared; a condition on the metric may ask for another
USUAL = {"capacity": "bits_per_parameter", "manipulation": "accuracy"}


def unit_of(cell: Cell, claim: Hypothesis) -> str:
    """What the values of a cell count."""
    return UNITS[claim.ability] if _is_usual(cell, claim) else cell.metric.replace("_", " ")


def _is_usual(cell: Cell, claim: Hypothesis) -> bool:
    return cell.metric in ("", USUAL.get(claim.ability, cell.metric))


def report(name: str, claim: Hypothesis, verdicts: list[Verdict]) -> str:
    """The count of outcomes, then a paragraph per cell."""
    outcomes = [v.outcome for v in verdicts]
    counts = ", ".join(f"{o} in {outcomes.count(o)}" for o in dict.fromkeys(outcomes))
    cells = "1 cell" if len(verdicts) == 1 else f"{len(verdicts)} cells"
    tested = sum(v.p_holm is not None for v in verdicts)
    paragraphs = [paragraph(v, claim, tested) for v in verdicts]
    return "\n\n".join([f"{name}: {counts} of {cells}", *paragraphs])


def paragraph(verdict: Verdict, claim: Hypothesis, tested: int) -> str:
    """One cell: the verdict, its numbers, and what to keep in mind.

    Args:
        tested: cells that Holm's correction is over.
    """
    cell = verdict.cell
    said = f"no verdict on {cell.b} against {cell.a}: {verdict.reason}"
    if verdict.outcome != "no verdict":
        does, much = DOES.get(claim.ability, ("", ""))
        words = {"does": does, "much": much, "unit": unit_of(cell, claim)}
        more, less = MORE.get(much, ("", ""))
        said = SENTENCES[claim.relation][verdict.outcome].format(
            a=cell.a, b=cell.b, margin=claim.margin, more=more, less=less, **words
        )
    parts = [_means(cell, claim), _test(verdict, claim, tested), _solved(verdict)]
    parts += [verdict.reason if verdict.outcome == "undecided" else "", _needed(verdict)]
    sentences = [f"{cell.name}: {said}", *filter(None, parts), *_notes(verdict, claim)]
    return "\n  ".join(f"{s[0].upper()}{s[1:]}." if i else f"{s}." for i, s in enumerate(sentences))


def _means(cell: Cell, claim: Hypothesis) -> str:
    values = (cell.a, cell.a_values), (cell.b, cell.b_values)
    if claim.ability != "steps":
        if not cell.seeds:
            return _failures(cell)
        if claim.ability == "solved":
            return f"over {_seeds(cell)}"
        both = ", ".join(f"{arm} {mean(x):.3f}" for arm, x in values)
        floor = (
            f" (floor {cell.floor:.3f})" if claim.ability == "manipulation" and cell.floor else ""
        )
        return f"means over {_seeds(cell)}: {both} {unit_of(cell, claim)}{floor}"
    told = []
    for arm, x in zip((cell.a, cell.b), cell.outcomes(failed=inf), strict=True):
        reached = [step for step in x if isfinite(step)]
        typical = f" (median step {number(median(reached))})" if reached else ""
        told.append(f"{arm} in {len(reached)} of {len(x)} seeds{typical}")
    failures = _failures(cell)
    return f"{EMERGED:g} is reached by {', by '.join(told)}{failures and f'; {failures}'}"


def _seeds(cell: Cell) -> str:
    n = len(cell.seeds)
    left = f" ({len(cell.alone)} without a partner left out)" if cell.alone else ""
    failures = _failures(cell)
    return f"{n} seed{'s' * (n > 1)}{left}{failures and f'; {failures}'}"


def _failures(cell: Cell) -> str:
    """`1 of 1⊗1 and 2 of 1⊗4 failed`, empty where no run did."""
    counts = [(len(seeds), arm) for seeds, arm in zip(cell.failed, (cell.a, cell.b), strict=True)]
    told = " and ".join(f"{n} of {arm}" for n, arm in counts if n)
    return f"{told} failed" if told else ""


def _test(verdict: Verdict, claim: Hypothesis, tested: int) -> str:
    found = []
    if verdict.difference is not None:
        text = f"difference {verdict.difference:+z.3f}"
        if claim.ability == "steps":
            text = f"{2**verdict.difference:.2f} times the steps"
        if verdict.low is not None and verdict.high is not None:
            ends = (
                f"{2**v:.2f}" if claim.ability == "steps" else f"{v:+z.3f}"
                for v in (verdict.low, verdict.high)
            )
            text += f", {100 * claim.level:.0f} % interval {' to '.join(ends)}"
        elif len(verdict.cell.seeds) > 1 and verdict.p is not None:
            text += " in every pair, so that there is no scatter to judge by"
        found.append(text)
    if verdict.p is not None:
        kind = {"equal": "two one-sided t tests"}.get(claim.relation, "paired t test")
        kind = verdict.test or kind
        found.append(_values(kind, verdict.p, verdict.p_holm, tested))
    if verdict.p_apart is not None and verdict.beyond(claim.margin):
        kind = "test" if verdict.test else "t test"
        kind += f" of more than ±{claim.margin:g}"
        found.append(_values(kind, verdict.p_apart, verdict.p_apart_holm, tested))
    if verdict.effect is not None:
        found.append(f"d_z {verdict.effect:+.2f}")
    return "; ".join(found)


def _values(kind: str, p: float, adjusted: float | None, tested: int) -> str:
    corrected = tested > 1 and adjusted is not None
    return f"{kind}: p {_p(p)}" + (
        f", {_p(adjusted)} after Holm over {tested} cells" if corrected else ""
    )


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "< .0001"


def _solved(verdict: Verdict) -> str:
    if verdict.solved is None:
        return ""
    arms = verdict.cell.a, verdict.cell.b
    told = (f"{arm} {_share(share)}" for arm, share in zip(arms, verdict.solved, strict=True))
    return f"seeds that reach {SOLVED:g}: {', '.join(told)}"


def _share(share: Share) -> str:
    return f"{share.count}/{share.n} (95 % interval {share.low:.2f} to {share.high:.2f})"


def _needed(verdict: Verdict) -> str:
    n, has = verdict.seeds_needed, len(verdict.cell.seeds)
    if (
        n is None
        or verdict.outcome in ("supported", "contradicted")
        or n <= has
        or verdict.difference is None  # the reason says it
    ):
        return ""
    power = "" if verdict.power is None else f"; these {has} have power {verdict.power:.2f}"
    return f"about {n} seeds would be needed, going by these (power .8, before Holm{power})"


def _notes(verdict: Verdict, claim: Hypothesis) -> list[str]:
    cell, notes = verdict.cell, []
    if claim.ability == "capacity" and not cell.converged:
        known = "not known to have converged" if cell.converged is None else "not converged"
        notes.append(f"{known}: this says how fast the arms store, not how much they can hold")
    least = REPEATS.get(claim.ability) if _is_usual(cell, claim) else None
    if least and verdict.difference is not None and abs(verdict.difference) < least:
        notes.append(
            f"a single run trained again has ended up to {least:g} {UNITS[claim.ability]} "
            "elsewhere: a smaller difference needs several seeds to mean anything"
        )
    if verdict.solved is not None and claim.ability != "solved":
        counts = [(s.count, s.n) for s in verdict.solved]
        if any(0 < count < n for count, n in counts):
            notes.append("some seeds solve it and some do not: the shares say more than the means")
        if claim.relation == "equal" and all(count == n for count, n in counts):
            notes.append("both solve it: harder questions may still tell them apart")
    if verdict.test == SIGNS:
        notes.append("where a skill never came, only the order counts")
    if verdict.test == FISHER:
        notes.append("the skill came in at most half of the runs: how many is compared")
    return notes


def as_data(verdict: Verdict, claim: Hypothesis) -> dict[str, Any]:
    """JSON-ready; never is null among the steps."""
    cell = verdict.cell
    shares = verdict.solved and [share._asdict() for share in verdict.solved]
    return {
        "cell": cell.name,
        "a": cell.a,
        "b": cell.b,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "unit": "log2 steps" if claim.ability == "steps" else unit_of(cell, claim),
        "seeds": cell.seeds,
        "seeds_without_partner": cell.alone,
        "seeds_failed": cell.failed,
        "a_values": [None if isinf(v) else v for v in cell.a_values],
        "b_values": [None if isinf(v) else v for v in cell.b_values],
        "floor": cell.floor,
        "ceilings": cell.ceilings,
        "converged": cell.converged,
        "difference": verdict.difference,
        "low": verdict.low,
        "high": verdict.high,
        "level": claim.level,
        "margin": claim.margin or None,
        "test": verdict.test or None,
        "p": verdict.p,
        "p_holm": verdict.p_holm,
        "p_apart": verdict.p_apart,
        "p_apart_holm": verdict.p_apart_holm,
        "effect": verdict.effect,
        "solved": shares,
        "seeds_needed": verdict.seeds_needed,
        "power": verdict.power,
    }
