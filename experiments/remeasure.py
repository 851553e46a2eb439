"""Measuring finished runs again, without training: `loopscope probe`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.errors import LoopscopeError
from experiments.measure import chosen_probes, merge_rows, parts_for, record_probe, subject_of
from experiments.plugins import blame
from experiments.repair import check_plain
from experiments.store import RunFolder, check_output, find_run, run_folders
from experiments.trained import load_trained
from generators.task import Task
from probes.probe import Probe


def measure_again(
    out: Path | str,
    run_ids: list[str] | None = None,
    probes: tuple[Probe, ...] | None = None,
    *,
    device: str = "cpu",
) -> list[str]:
    """As `measure_each`, all of them; the ids that were measured.

    Raises:
        LoopscopeError: why some could not be measured; the others are.
    """
    found = list(measure_each(out, run_ids, probes, device=device))
    if wrong := [problem for _, problem in found if problem]:
        raise LoopscopeError("\n".join(wrong))
    return [run_id for run_id, _ in found]


def finished_runs(out: Path, where: Sequence[str]) -> list[str]:
    """Ids of the runs with a result that meet conditions, see `experiments.conditions`.

    Raises:
        LoopscopeError: there are none, or a condition makes no sense.
    """
    from experiments.conditions import chosen_runs, parse
    from experiments.results import load_runs

    rows = load_runs(out)
    conditions = parse(where)
    found = chosen_runs(rows[rows["status"] == "done"], conditions, "probe measures")
    if not found:
        raise LoopscopeError(f"{out} has no finished run with {', '.join(map(str, conditions))}")
    return found


def measure_each(
    out: Path | str,
    run_ids: list[str] | None = None,
    probes: tuple[Probe, ...] | None = None,
    *,
    device: str = "cpu",
) -> Iterator[tuple[str, str]]:
    """Measures finished runs without training; their new rows replace those of the same kinds.

    Args:
        run_ids: ids or starts of ids; None: every run with a result.
        probes: None: those the run was measured with at its end. One that does not apply to a
            run's task is left out there.

    Yields:
        (id, why it could not be measured) of each run; the reason is empty where it was.

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
            if _measure(folder, probes, device):
                yield folder.run_id, ""
        except LoopscopeError as error:
            yield folder.run_id, str(error)
        except Exception as error:  # a damaged run must not keep the others from being measured
            yield folder.run_id, str(blame(f"{folder.run_id}: measuring", error))


def _measure(folder: RunFolder, probes: tuple[Probe, ...] | None, device: str) -> bool:
    """Whether there was anything to measure.

    Raises:
        LoopscopeError: no result, no readable weights, or a config that does not fit.
    """
    import torch

    result = folder.result()
    if result is None:
        raise LoopscopeError(f"{folder.path} has no result yet; run its grid first")
    check_plain(folder.path)
    config = folder.config()
    model, task, step = load_trained(folder, device)
    subject = subject_of(config, model, task, torch.device(device))
    records = [
        record_probe(folder, probe, subject, step)
        for probe in _fitting(chosen_probes(config, task) if probes is None else probes, task)
    ]
    if records:
        folder.write_result(merge_rows(result, records))
    return bool(records)


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
