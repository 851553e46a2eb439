"""The command `loopscope compare`: what results say about a claim."""

from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.options import RUNS, Results, Strict, Where, telling_problems
from experiments.errors import LoopscopeError

if TYPE_CHECKING:
    from experiments.analysis.verdicts.claims import Hypothesis
    from experiments.results.row_filter import Condition

#: of `experiments.analysis.verdicts.claims.HYPOTHESES`, which `--help` has no time to import
NAMES = (
    *("capacity-equal", "capacity-different", "capacity-better"),
    *("manipulation-equal", "manipulation-different", "manipulation-better"),
    *("solved-different", "solved-better", "needs-fewer-steps"),
)


Claim = Annotated[str, typer.Option(help=f"needed; one of {', '.join(NAMES)}", show_default=False)]
Between = Annotated[
    tuple[str, str] | None,
    typer.Option(metavar="A B", help="B against A; 1x4 is 1⊗4; default: all against the first"),
]
Pairs = Annotated[
    list[str],
    typer.Option(
        metavar="A:B[:EXPR]",
        help="a further comparison, such as 1x2:1x4:difficulty=3; repeatable; the p values of one "
        "call are corrected together",
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="of a claim -equal: a difference below it does not matter; default: 0.1 bits per "
        "parameter of capacity, 0.05 of accuracy",
    ),
]


def compare(
    out: Results = RUNS,
    claim: Claim = "",
    between: Between = None,
    pair: Pairs = [],  # noqa: B006 typer copies it
    by: Annotated[str, typer.Option(help="the column that A and B are values of")] = "arm",
    where: Where = [],  # noqa: B006 typer copies it
    grid: Annotated[str | None, typer.Option(help="only the runs of this grid")] = None,
    margin: Margin = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
    strict: Strict = False,
) -> None:
    """Say whether the results support a claim: one arm against another, over seeds."""
    import json

    from experiments.analysis.verdicts.cells import cells
    from experiments.analysis.verdicts.text import as_data, report
    from experiments.analysis.verdicts.verdicts import judge
    from experiments.results.long_table import read_results
    from experiments.results.row_filter import arm_label, parse

    wanted = _hypothesis(claim, margin)
    shared, asked = parse(where), [_comparison(text) for text in pair]
    if between is not None or not pair:
        asked = [(between and (arm_label(between[0]), arm_label(between[1])), []), *asked]
    results = read_results(out, grid)
    with telling_problems(results, strict=strict):
        paired = [
            cell
            for labels, own in asked
            for cell in cells(
                results, wanted.ability, between=labels, by=by, conditions=[*shared, *own]
            )
        ]
        found = judge(paired, wanted)
        if as_json:
            data = {"claim": claim, "verdicts": [as_data(v, wanted) for v in found]}
            typer.echo(json.dumps(data, indent=1, ensure_ascii=False))
        else:
            typer.echo(results.read_from, err=True)
            typer.echo(report(claim, wanted, found))


def _hypothesis(claim: str, margin: float | None) -> "Hypothesis":
    """What is claimed, with the margin that was asked for.

    Raises:
        LoopscopeError: there is no such claim, or it takes no margin.
    """
    from dataclasses import replace

    from experiments.analysis.verdicts.claims import HYPOTHESES
    from generators.plugins import nearest

    if claim not in HYPOTHESES:
        given = f"--claim {claim!r}{nearest(claim, HYPOTHESES)}" if claim else "--claim is needed"
        raise LoopscopeError(f"{given}: it is one of {', '.join(HYPOTHESES)}")
    wanted = HYPOTHESES[claim]
    if margin is None:
        return wanted
    if wanted.relation != "equal" or margin == 0:
        raise LoopscopeError(f"--margin {margin:g}: a positive one, for a claim of equality")
    return replace(wanted, margin=margin)


def _comparison(text: str) -> "tuple[tuple[str, str], list[Condition]]":
    """`1x2:1x4:difficulty=3` -> 1⊗2 and 1⊗4, and which rows are meant.

    Raises:
        LoopscopeError: it has no two names, or ends in no condition.
    """
    from experiments.results.row_filter import arm_label, parse

    a, _, rest = text.partition(":")
    b, _, condition = rest.partition(":")
    if not a or not b:
        raise LoopscopeError(f"--pair {text}: needs A:B, such as 1x2:1x4 or 1x2:1x4:difficulty=3")
    return (arm_label(a), arm_label(b)), parse([condition] if condition else [])
