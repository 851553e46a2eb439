"""Measuring finished runs again, without training: `loopscope probe`."""

from pathlib import Path

from experiments.errors import LoopscopeError
from experiments.measure import chosen_probes, merge_rows, record_probe, subject_of
from experiments.store import check_output, find_run, run_folders
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
    """Measures finished runs without training; their new rows replace those of the same kinds.

    Args:
        run_ids: ids or starts of ids; None: every run with a result.
        probes: None: those the run was measured with at its end. One that does not apply to a
            run's task is left out there.

    Returns:
        The ids that were measured.

    Raises:
        LoopscopeError: an id that does not exist or has no result.
    """
    import torch

    out = Path(out)
    check_output(out)
    torch.set_num_threads(1)
    if run_ids is None:
        folders = [folder for folder in run_folders(out) if folder.result() is not None]
    else:
        folders = [find_run(out, run_id) for run_id in run_ids]
    measured = []
    for folder in folders:
        result = folder.result()
        if result is None:
            raise LoopscopeError(f"{folder.path} has no result yet; run its grid first")
        config = folder.config()
        model, task, step = load_trained(folder, device)
        subject = subject_of(config, model, task, torch.device(device))
        records = [
            record_probe(folder, probe, subject, step)
            for probe in _fitting(chosen_probes(config, task) if probes is None else probes, task)
        ]
        if records:
            folder.write_result(merge_rows(result, records))
            measured.append(folder.run_id)
    return measured


def _fitting(probes: tuple[Probe, ...], task: Task) -> list[Probe]:
    """The probes that apply to a task.

    Raises:
        LoopscopeError: one applies, but not with its settings.
    """
    fitting = [probe for probe in probes if type(probe).applies(task)]
    for probe in fitting:
        try:
            probe.check(task)
        except ValueError as error:
            raise LoopscopeError(str(error)) from error
    return fitting
