"""The old place of `experiments.execution.runner.run_grid`, kept for one version."""

from experiments.execution.runner import run_grid

__all__ = ["run_grid"]
