"""Measuring finished runs again, without training: `loopscope probe`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config.chosen_probes import chosen_probes, parts_for
from experiments.errors import LoopscopeError, wrap_plugin_error
from experiments.measuring.load import load_trained
from experiments.measuring.measure import (
    probe_code,
    probe_id,
    record_probe,
    rows_of,
    subject_of,
)
from experiments.runs.folder import RunFolder
from experiments.runs.lock import RunLock
from experiments.runs.output import check_output, find_run, run_folders
from experiments.runs.repair import check_plain
from generators.task import Task
from probes.probe import Probe


@dataclass(frozen=True)
class Remeasurement:
    """A run that was measured again, or why it could not be.

    Attributes:
        problem: empty where it was measured.
        records: what each probe found, as in `probes/<id>.json`.
        apart: ids of probes whose rows are in their own files only, because the result has other
            measurements of their kinds.
        dropped: ids of probes whose rows were removed from the result.
        own: ids of the probes that the run is measured with at its end.
    """

    run_id: str
    problem: str = ""
    records: tuple[dict[str, Any], ...] = ()
    apart: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()


def measure_again(
    out: Path | str,
    run_ids: list[str] | None = None,
    probes: tuple[Probe, ...] | None = None,
    *,
    replace: bool = False,
    allow_drift: bool = False,
    device: str = "cpu",
) -> list[str]:
    """Measures all runs that `measure_each` would yield, and returns their ids.

    Raises:
        LoopscopeError: some runs could not be measured, and why; the others were.
    """
    how: dict[str, Any] = {"replace": replace, "allow_drift": allow_drift, "device": device}
    found = list(measure_each(out, run_ids, probes, **how))
    if wrong := [run.problem for run in found if run.problem]:
        raise LoopscopeError("\n".join(wrong))
    return [run.run_id for run in found]


def measure_each(
    out: Path | str,
    run_ids: list[str] | None = None,
    probes: tuple[Probe, ...] | None = None,
    *,
    replace: bool = False,
    allow_drift: bool = False,
    device: str = "cpu",
) -> Iterator[Remeasurement]:
    """Measures finished runs without training; probes of the runs themselves renew their rows.

    What other probes find enters a result that has nothing of their kinds. Otherwise it is kept
    apart, in `probes/<id>.json`, so that tables go on saying the same.

    Args:
        run_ids: ids or starts of ids; None: every run with a result.
        probes: None: those the run was measured with at its end. One that does not apply to a
            run's task is left out there.
        replace: what other probes find stands in the result for all that it has of their kinds,
            until the run's own probes measure again.
        allow_drift: measure also runs whose own task or model has another file now.

    Yields:
        One for each run that something could be measured of.

    Raises:
        LoopscopeError: an id that does not exist.
    """
    import torch

    out = Path(out)
    check_output(out)
    torch.set_num_threads(1)
    if run_ids is None:
        folders = [folder for folder in run_folders(out) if folder.result() is not None]
    else:
        folders = [find_run(out, run_id) for run_id in run_ids]
    for folder in folders:
        try:
            if found := _measure(folder, probes, replace, device, allow_drift):
                yield found
        except LoopscopeError as error:
            yield Remeasurement(folder.run_id, str(error))
        except Exception as error:  # a damaged run must not keep the others from being measured
            yield Remeasurement(
                folder.run_id, str(wrap_plugin_error(f"{folder.run_id}: measuring", error))
            )


def _measure(
    folder: RunFolder,
    probes: tuple[Probe, ...] | None,
    replace: bool,
    device: str,
    allow_drift: bool,
) -> Remeasurement | None:
    """None where no probe applies.

    Raises:
        LoopscopeError: no result, no readable weights, or a config that does not fit.
    """
    import torch

    if folder.result() is None:
        raise LoopscopeError(f"{folder.path} has no result yet; run its grid first")
    check_plain(folder.path)
    config = folder.config()
    model, task, step = load_trained(folder, device, allow_drift)
    subject = subject_of(config, model, task, torch.device(device))
    chosen = chosen_probes(config, task)
    asked = _fitting(chosen if probes is None else probes, task)
    if not asked:
        return None
    records = tuple(record_probe(folder, probe, subject, step) for probe in asked)
    own = frozenset(map(probe_id, chosen))
    with RunLock.hold(folder.lock_path):
        apart, dropped = _merge(folder, records, own, replace)
    new = {r["id"] for r in records}
    return Remeasurement(folder.run_id, "", records, apart, dropped - new, own)


def _merge(
    folder: RunFolder, records: tuple[dict[str, Any], ...], own: frozenset[str], replace: bool
) -> tuple[frozenset[str], frozenset[str]]:
    """Brings new measurements into a result; ids of those kept apart, and of those dropped.

    The result is read here and not before measuring, which takes minutes: others may have
    measured the same run meanwhile.

    Raises:
        LoopscopeError: the result is gone.
    """
    result = folder.result()
    if result is None:
        raise LoopscopeError(f"the result of {folder.path} went while it was measured")
    before = frozenset(row.get("probe", "") for row in result["measurements"])
    new, kinds = {r["id"] for r in records}, set(map(_kind, before))
    apart = set() if replace else {i for i in new - own - before if _kind(i) in kinds}
    joining = [r for r in records if r["id"] not in apart]
    dropped = _dropped({r["id"] for r in joining}, before, own)
    kept = [row for row in result["measurements"] if row.get("probe", "") not in dropped]
    rows = [row for record in joining for row in rows_of(record)]
    known = {row.get("probe", ""): None for row in kept + rows}
    code = {**result.get("probe_code", {}), **probe_code(joining)}
    code = {identity: code[identity] for identity in known if identity in code}
    changed = {"probe_code": code} if code or "probe_code" in result else {}
    folder.write_result({**result, **changed, "measurements": kept + rows})
    return frozenset(apart), dropped


def _kind(identity: str) -> str:
    return identity.rpartition("-")[0]


def _dropped(joining: set[str], before: frozenset[str], own: frozenset[str]) -> frozenset[str]:
    """Ids of the probes whose rows are replaced; a run's own probes never replace each other."""
    same = joining & before
    of_own = {_kind(i) for i in joining & own}
    of_others = {_kind(i) for i in joining - own - before}
    gone = {i for i in before if _kind(i) in of_others or (_kind(i) in of_own and i not in own)}
    return frozenset(same | gone)


def _fitting(probes: tuple[Probe, ...], task: Task) -> list[Probe]:
    """The probes that apply to a task.

    Raises:
        LoopscopeError: one applies, but not with its settings.
    """
    fitting = [p for p in probes if any(map(type(p).applies, task.parts.values()))]
    for probe in fitting:
        try:
            for part in parts_for(probe, task).values():
                probe.check(part)
        except ValueError as error:
            raise LoopscopeError(str(error)) from error
    return fitting
