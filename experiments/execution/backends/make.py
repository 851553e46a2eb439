"""Chooses a back end."""

from experiments.execution.backends.backend import Backend, JobContext, require
from experiments.execution.backends.local import LocalBackend
from experiments.execution.backends.options import BackendOptions, LocalOptions, RayOptions


def make_backend(options: BackendOptions, context: JobContext) -> Backend:
    """The back end that `options` describe.

    Raises:
        LoopscopeError: its library is not installed, or it cannot be used here.
    """
    if isinstance(options, LocalOptions):
        return LocalBackend(options, context)
    if isinstance(options, RayOptions):
        require("ray", "--backend ray", "ray")
        from experiments.execution.backends.ray import RayBackend

        return RayBackend(options, context)
    require("submitit", "--backend slurm", "slurm")
    from experiments.execution.backends.slurm import SlurmBackend

    return SlurmBackend(options, context)
