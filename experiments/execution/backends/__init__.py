"""Where runs are worked on: this machine, a Ray cluster, a Slurm cluster."""

from experiments.execution.backends.backend import Backend, make_backend
from experiments.execution.backends.options import (
    BackendOptions,
    LocalOptions,
    RayOptions,
    SlurmOptions,
    backend_options,
)

__all__ = [
    "Backend",
    "BackendOptions",
    "LocalOptions",
    "RayOptions",
    "SlurmOptions",
    "backend_options",
    "make_backend",
]
