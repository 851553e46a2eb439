"""What a run is and what it costs, from its configuration alone."""

from experiments.config.run import RunConfig

__all__ = ["RunConfig"]
