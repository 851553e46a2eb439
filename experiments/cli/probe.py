"""The command `loopscope probe`: finished runs are measured again, and what was found is shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.options import RUNS, OutArgument, Where
from experiments.errors import LoopscopeError

if TYPE_CHECKING:
    from experiments.measuring.remeasure import Remeasurement

HEAD = (
    *("probe", "metric", "component", "split", "item", "difficulty", "loop"),
    *("value", "95 % interval", "floor", "ceiling", "items"),
)


def probe(
    out: OutArgument = RUNS,
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="ids or starts; all if none")
    ] = None,
    probes: Annotated[
        list[str],
        typer.Option(
            "--probe",
            metavar="PROBE",
            help="kind, or YAML such as {kind: accuracy}; repeatable; default: the run's own",
        ),
    ] = [],  # noqa: B006 typer copies it
    where: Where = [],  # noqa: B006
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="in the result, put it in place of all it has of the probe's kind"
        ),
    ] = False,
    allow_drift: Annotated[
        bool,
        typer.Option("--allow-drift", help="also runs whose own task or model has changed since"),
    ] = False,
) -> None:
    """Measure finished runs again, without training, and show what was found.

    What the result of a run has nothing of enters it. Other settings of a kind that it has are
    kept apart, in OUT/RUN/probes, unless you say --replace: tables and figures read the result.
    `loopscope probe OUT` without --probe gives back what the run was measured with at its end.
    """
    from experiments.grid.lookup import probe_of
    from experiments.measuring.remeasure import measure_each

    chosen = tuple(map(probe_of, probes)) or None
    wrong = False
    asked = finished_runs(out, where) if where and not runs else runs or None
    for found in measure_each(out, asked, chosen, replace=replace, allow_drift=allow_drift):
        wrong |= bool(found.problem)
        typer.echo(found.problem or _shown(found, out), err=bool(found.problem))
    if wrong:
        raise typer.Exit(2)


def finished_runs(out: Path, where: Sequence[str]) -> list[str]:
    """Ids of the runs with a result that meet conditions, see `experiments.results.row_filter`.

    Raises:
        LoopscopeError: there are none, or a condition makes no sense.
    """
    from experiments.results.long_table import load_runs
    from experiments.results.row_filter import chosen_runs, parse

    rows = load_runs(out)
    conditions = parse(where)
    found = chosen_runs(rows[rows["status"] == "done"], conditions, "probe measures")
    if not found:
        raise LoopscopeError(f"{out} has no finished run with {', '.join(map(str, conditions))}")
    return found


def _shown(run: "Remeasurement", out: Path) -> str:
    """The run, a line for each number, and where these are kept."""
    from experiments.text import aligned

    rows = [_row(record["id"], row) for record in run.records for row in record["measurements"]]
    lines = [run.run_id, *(f"  {line}" for line in aligned([HEAD, *rows]).split("\n"))]
    for identity in sorted(run.apart):
        file = out / run.run_id / "probes" / f"{identity}.json"
        lines.append(f"  apart from the result, in {file}; --replace puts it there")
    if run.dropped:
        found = ", ".join(r["id"] for r in run.records if r["id"] not in run.apart)
        lines.append(f"  the result has {found} in place of {', '.join(sorted(run.dropped))}")
        if run.dropped & run.own:
            lines.append(f"  `loopscope probe {out} {run.run_id}` gives back the run's own")
    return "\n".join(lines)


def _row(identity: str, row: dict[str, Any]) -> tuple[str, ...]:
    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    ends = row["low"], row["high"]
    return (
        *(identity, row["metric"], row["component"], row["split"], row["item"]),
        *("" if row[name] is None else str(row[name]) for name in ("difficulty", "loop")),
        shown(row["value"]),
        "" if None in ends else " to ".join(map(shown, ends)),
        *(shown(row["floor"]), shown(row["ceiling"]), str(row["n_items"])),
    )
