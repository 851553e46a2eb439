"""Figures of a grid that nothing its runs measure could fill, told before hours of training."""

from collections.abc import Iterator

from experiments.errors import wrap_plugin_error
from experiments.grid.grid import Grid
from experiments.grid.located_yaml import Problem


def undrawable(grid: Grid) -> Iterator[str]:
    """A warning for each thing that a figure needs and no run has, with its place in the file.

    It warns and does not refuse: the runs are good without the figure, and a figure of the same
    grid may be drawn of older runs, which were measured in other ways.
    """
    points = [(point.part, point.config) for point in grid.points]
    for i, (mark, figure) in enumerate(grid.drawn):
        try:
            missing = [f"{figure.kind} cannot be drawn: {told}" for told in figure.missing(points)]
        except Exception as error:  # whatever a figure or a task from a user's file does wrong
            missing = [str(wrap_plugin_error(f"what figure {figure.kind} needs", error))]
        for message in missing:
            yield str(Problem(mark, ("figures", str(i)), message))
