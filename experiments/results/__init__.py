"""What was measured, read once: `load_runs` and `load_curves` give one long pandas table."""

from experiments.results.long_table import load_curves, load_runs

__all__ = ["load_curves", "load_runs"]
