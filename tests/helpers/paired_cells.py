"""Cells of two arms, from their values."""

from experiments.analysis.verdicts.cells import Cell

SEEDS = range(8)
NOISE = (0.02, -0.01, 0.015, -0.02, 0.0, -0.005, 0.01, -0.015)


def cell(a: list[float], b: list[float], **fields) -> Cell:
    return Cell("cell", "1⊗1", "1⊗4", tuple(range(len(a))), tuple(a), tuple(b), **fields)


def of_solved(a: list[float], b: list[float], **fields) -> Cell:
    """A cell of the claims `solved`: 1 for a seed that reaches .95, else 0."""
    return cell(*([float(v >= 0.95) for v in arm] for arm in (a, b)), **fields)
