"""The command `loopscope compare`: what results say about a claim."""

import re
from typing import Annotated, Any

import typer

from experiments.errors import LoopscopeError
from experiments.options import RUNS, OutArgument


def compare(
    out: OutArgument = RUNS,
    claim: Annotated[
        str, typer.Option(help="such as capacity-equal, manipulation-better, needs-fewer-steps")
    ] = "",
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="B against A; 1x4 is 1⊗4; default: all against the first"),
    ] = None,
    by: Annotated[str, typer.Option(help="the column that A and B are values of")] = "arm",
    where: Annotated[
        list[str],
        typer.Option(metavar="EXPR", help="such as 'width=64,difficulty=2|3'; repeatable"),
    ] = [],  # noqa: B006 typer copies it
    grid: Annotated[str | None, typer.Option(help="only the runs of this grid")] = None,
    margin: Annotated[
        float | None,
        typer.Option(min=0, help="that counts as equal; default 0.1 bits per parameter, 0.05"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Say whether the results support a claim: one arm against another, over seeds."""
    import json
    from dataclasses import replace

    from experiments.pairing import cells
    from experiments.plugins import nearest
    from experiments.verdict_text import as_data, report
    from experiments.verdicts import CLAIMS, judge

    if claim not in CLAIMS:
        raise LoopscopeError(
            f"--claim {claim!r}{nearest(claim, CLAIMS)}: it is one of {', '.join(CLAIMS)}"
        )
    wanted = CLAIMS[claim]
    if margin is not None:
        if wanted.relation != "equal" or margin == 0:
            raise LoopscopeError(f"--margin {margin:g}: a positive one, for a claim of equality")
        wanted = replace(wanted, margin=margin)
    pair = None if between is None else (arm_label(between[0]), arm_label(between[1]))
    filters = parse_filters(where)
    paired = cells(out, wanted.ability, between=pair, by=by, grid=grid, filters=filters)
    found = judge(paired, wanted)
    if as_json:
        data = {"claim": claim, "verdicts": [as_data(v, wanted) for v in found]}
        typer.echo(json.dumps(data, indent=1, ensure_ascii=False))
    else:
        typer.echo(report(claim, wanted, found))


def arm_label(text: str) -> str:
    """`1x4` -> `1⊗4`; other labels as they are."""
    return re.sub(r"^(\d+)x(\d+)\b", r"\1⊗\2", text)


def parse_filters(texts: list[str]) -> dict[str, Any]:
    """`width=64,difficulty=2|3` -> column -> its values.

    Raises:
        LoopscopeError: text that is not COLUMN=VALUE.
    """
    found = {}
    for text in texts:
        for condition in text.split(","):
            column, equals, values = condition.partition("=")
            if not (column.strip() and equals and values.strip()):
                raise LoopscopeError(
                    f"--where {text}: needs COLUMN=VALUE, such as width=64 or difficulty=2|3"
                )
            found[column.strip()] = [_value(v.strip()) for v in values.split("|")]
    return found


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
