"""Checks before any run of a grid is worked on, each of which refuses the whole grid."""

from experiments.config.memory import possible_memory
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.execution.backends.options import BackendOptions, LocalOptions
from experiments.runs.folder import RunFolder
from experiments.runs.provenance import (
    changed_code,
    changed_message,
    drift_message,
    drift_of,
    environment,
)
from experiments.runs.repair import check_plain


def refuse(
    folders: list[RunFolder],
    configs: dict[RunFolder, RunConfig],
    options: BackendOptions,
    allow_drift: bool,
) -> None:
    """Checks the runs that are about to be worked on.

    Raises:
        LoopscopeError: one leads out of its folder, needs more memory than there is, or is to be
            resumed with other code than it began with.
    """
    for folder in folders:
        check_plain(folder.path)
    if isinstance(options, LocalOptions):  # other back ends work on machines that are not known
        _refuse_memory(folders, configs)
    if not allow_drift:
        _refuse_drift(folders, configs)


def _refuse_memory(folders: list[RunFolder], configs: dict[RunFolder, RunConfig]) -> None:
    """Refuses a run that needs more memory than there is, since it would only be killed."""
    for folder in folders:
        try:
            possible_memory(folder.run_id, configs[folder])
        except LoopscopeError:
            raise
        except Exception:  # of its own code, which its worker says better
            continue


def _refuse_drift(folders: list[RunFolder], configs: dict[RunFolder, RunConfig]) -> None:
    """Refuses to resume runs with other code than they began with."""
    changes = {}
    for folder in folders:
        status = folder.status()
        trained = status is not None and 0 < status.last_step <= status.checkpoint_step
        if not folder.has_checkpoint() or trained:
            continue
        if found := drift_of(folder, environment(configs[folder])):
            changes[folder.run_id] = found
    if changes:
        raise LoopscopeError(drift_message(changes))


def refuse_changed_code(done: list[RunFolder], configs: dict[RunFolder, RunConfig]) -> None:
    """Refuses a grid of which finished runs are of other code than somebody's file holds now.

    Raises:
        LoopscopeError: with the runs and the files.
    """
    changes = {f.run_id: found for f in done if (found := changed_code(f, configs[f]))}
    if changes:
        raise LoopscopeError(
            changed_message(changes, "their numbers would stand beside those of the new code.")
        )
