"""Grid files: read, validated and expanded into the runs that they name."""

from experiments.grid.grid import load_grid

__all__ = ["load_grid"]
