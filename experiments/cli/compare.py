"""The command `loopscope compare`: what results say about a claim."""

from typing import Annotated

import typer

from experiments.cli.options import RUNS, Results, Where
from experiments.errors import LoopscopeError

#: of `experiments.analysis.verdicts.claims.HYPOTHESES`, which `--help` has no time to import
NAMES = (
    *("capacity-equal", "capacity-different", "capacity-better"),
    *("manipulation-equal", "manipulation-different", "manipulation-better"),
    *("solved-different", "solved-better", "needs-fewer-steps"),
)


def compare(
    out: Results = RUNS,
    claim: Annotated[
        str, typer.Option(help=f"needed; one of {', '.join(NAMES)}", show_default=False)
    ] = "",
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="B against A; 1x4 is 1⊗4; default: all against the first"),
    ] = None,
    pair: Annotated[
        list[str],
        typer.Option(metavar="A:B", help="another A and B of the same family; repeatable"),
    ] = [],  # noqa: B006 typer copies it
    by: Annotated[str, typer.Option(help="the column that A and B are values of")] = "arm",
    where: Where = [],  # noqa: B006 typer copies it
    grid: Annotated[str | None, typer.Option(help="only the runs of this grid")] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="of a claim -equal: a difference below it does not matter; default: 0.1 bits per "
            "parameter of capacity, 0.05 of accuracy",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Say whether the results support a claim: one arm against another, over seeds."""
    import json
    from dataclasses import replace

    from experiments.analysis.verdicts.cells import cells
    from experiments.analysis.verdicts.claims import HYPOTHESES
    from experiments.analysis.verdicts.text import as_data, report
    from experiments.analysis.verdicts.verdicts import judge
    from experiments.results.long_table import read_results
    from experiments.results.row_filter import arm_label, parse
    from generators.plugins import nearest

    if claim not in HYPOTHESES:
        given = f"--claim {claim!r}{nearest(claim, HYPOTHESES)}" if claim else "--claim is needed"
        raise LoopscopeError(f"{given}: it is one of {', '.join(HYPOTHESES)}")
    wanted = HYPOTHESES[claim]
    if margin is not None:
        if wanted.relation != "equal" or margin == 0:
            raise LoopscopeError(f"--margin {margin:g}: a positive one, for a claim of equality")
        wanted = replace(wanted, margin=margin)
    pairs = [*([] if between is None else [between]), *map(_pair, pair)]
    labels = [(arm_label(a), arm_label(b)) for a, b in pairs] or None
    results = read_results(out, grid)
    paired = cells(results, wanted.ability, between=labels, by=by, conditions=parse(where))
    found = judge(paired, wanted)
    if as_json:
        data = {"claim": claim, "verdicts": [as_data(v, wanted) for v in found]}
        typer.echo(json.dumps(data, indent=1, ensure_ascii=False))
    else:
        typer.echo(results.read_from, err=True)
        typer.echo(report(claim, wanted, found))


def _pair(text: str) -> tuple[str, str]:
    """`1x2:1x4` -> 1x2 and 1x4.

    Raises:
        LoopscopeError: it is not two names.
    """
    a, _, b = text.partition(":")
    if not a or not b or ":" in b:
        raise LoopscopeError(f"--pair {text}: needs A:B, such as 1x2:1x4")
    return a, b
