"""The laboratory of loopscope: what a run is, runs it, reads it."""

from experiments.shadowing import check_packages

check_packages()
