"""The old place of `experiments.measuring.load.load_model`, kept for one version."""

from experiments.measuring.load import load_model

__all__ = ["load_model"]
