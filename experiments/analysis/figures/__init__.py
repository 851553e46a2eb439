"""Figures, one file per kind: `draw(kind, out)` writes PNG, SVG and the CSV behind it."""

from experiments.analysis.figures.draw import draw, figure_of
from experiments.analysis.figures.figure import Figure

__all__ = ["Figure", "draw", "figure_of"]
