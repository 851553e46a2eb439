"""What was measured, read once: `load_runs` and `load_curves` give one long pandas table."""

from experiments.results.long_table import emergence_step, load_curves, load_runs
from experiments.results.task import load_task

__all__ = ["emergence_step", "load_curves", "load_runs", "load_task"]
