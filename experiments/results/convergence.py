"""Rows of the long table beside the measurements: what converged, and what training logged."""

from collections.abc import Iterable, Iterator
from typing import Any

from experiments.results.records import Run
from probes.statistics import has_converged


def converged(runs: Iterable[Run]) -> dict[str, bool]:
    """run id -> whether twice the exposures, all else equal, change R by less than 2 %.

    Runs without such a partner are left out: nothing is known about them.
    """
    families: dict[str, dict[float, Run]] = {}
    for run in runs:
        exposures = run.columns["exposures"]
        if run.config and exposures and run.bits_per_parameter is not None:
            key = run.key("training.phases.*.until_step", "training.phases.*.until_exposure")
            families.setdefault(key, {})[exposures] = run
    found = {}
    for family in families.values():
        for exposures, run in family.items():
            R, longer = run.bits_per_parameter, family.get(2 * exposures)
            if R is not None and longer is not None and longer.bits_per_parameter is not None:
                found[run.record.run_id] = has_converged(R, longer.bits_per_parameter)
    return found


def logged(line: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the objective said of its batch, what growth did to it, and goals, as rows."""
    if goal := line.get("goal"):
        yield {"metric": "goal_accuracy", "split": goal["split"], "value": goal["accuracy"]}
    for key, value in (line.get("growth") or {}).items():
        name, _, when = key.rpartition("_")
        if when in ("before", "after"):
            yield {"metric": f"growth_{name}", "item": when, "value": value}
    for name in ("loss", "mean_exit", "exit_entropy"):
        if name in line:
            yield {"metric": name, "value": line[name]}
    for name, metric in (("exit", "exit_probability"), ("loss", "loop_loss")):
        for key, value in line.items():
            head, _, loop = key.partition(".")
            if head == name and loop.isdigit():
                yield {"metric": metric, "loop": int(loop), "value": value}
