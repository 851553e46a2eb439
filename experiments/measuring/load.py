"""Trained runs as objects: the model and the task it was trained on."""

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.config.goals import ends_of
from experiments.config.phases import Before
from experiments.errors import LoopscopeError
from experiments.runs.checkpoint import read_checkpoint
from experiments.runs.folder import RunFolder
from experiments.runs.output import find_run
from experiments.runs.provenance import changed_code, changed_message
from generators.task import Task

if TYPE_CHECKING:
    from models.interface import LoopedModel
    from probes.probe import Subject


def load_model(
    out: Path | str, run_id: str, *, device: str = "cpu", allow_drift: bool = False
) -> tuple["LoopedModel", Task]:
    """The trained model, in eval mode, and the task it was trained on.

    Args:
        run_id: or the start of one.
        allow_drift: also where the file that its task or model comes from has changed since.

    Raises:
        LoopscopeError: no such run, it has no weights yet, or that file has changed.
    """
    return load_trained(find_run(Path(out), run_id), device, allow_drift)[:2]


def load_task(out: Path | str, run_id: str) -> Task:
    """The task of a run in a folder, with its world; `loopscope.load_task` reads archives too.

    Raises:
        LoopscopeError: no such run, or its config is damaged.
    """
    return find_run(Path(out), run_id).config().bound_task()


def load_subject(
    out: Path | str, run_id: str, *, device: str = "cpu", allow_drift: bool = False
) -> "Subject":
    """The trained model with its task, as probes take it: `Accuracy().measure(subject)`.

    Raises:
        LoopscopeError: as `load_model`.
    """
    import torch

    from experiments.measuring.measure import subject_of

    folder = find_run(Path(out), run_id)
    model, task, _ = load_trained(folder, device, allow_drift)
    return subject_of(folder.config(), model, task, torch.device(device))


def load_trained(
    folder: RunFolder, device: str, allow_drift: bool = False
) -> tuple["LoopedModel", Task, int]:
    """The trained model, in eval mode, its task, and the step of the checkpoint.

    Raises:
        LoopscopeError: no weights, damaged ones, or a config or files of code that they were not
            trained with.
    """
    config = folder.config()
    folder.check_unedited(config)
    if not allow_drift and (files := changed_code(folder, config)):
        what = "its weights would meet another task or model than their own."
        raise LoopscopeError(changed_message({folder.run_id: files}, what))
    state = read_checkpoint(folder)
    before = Before.model_validate(state.get("before") or {})
    task, spans = config.bind(ends_of(state.get("goals", ())), before)
    model = config.build_model(task, config.model_at(spans, state["step"]))
    model.load_state_dict(state["model"])
    return model.to(device).eval(), task, state["step"]
