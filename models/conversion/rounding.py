"""Weights rounded to few bits: how much of what a model stores hangs on their precision?"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def rounded(weight: Tensor, bits: int) -> Tensor:
    """A matrix [out, in] on a grid of its own in every row (symmetric, per output channel).

    With s = max|row| / (2^(bits-1) - 1) a weight w becomes s·round(w/s), one of 2^bits - 1
    values around 0, ties to even. A row of zeros stays as it is.

    Raises:
        ValueError: fewer than 2 bits, which leave nothing but zeros.
    """
    if bits < 2:
        raise ValueError(f"weights are rounded to 2 or more bits, got {bits}")
    levels = 2 ** (bits - 1) - 1
    step = weight.abs().amax(dim=1, keepdim=True) / levels
    return torch.where(step > 0, (weight / step).round() * step, weight)


@contextmanager
def rounded_weights(model: nn.Module, bits: int) -> Iterator[None]:
    """Within, every matrix of the model is rounded; afterwards it is bit for bit what it was.

    Matrices are embeddings (a row is a token's), linear maps and the head; gains of norms and
    biases, a few in a thousand parameters, are kept.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    kept = [matrix.detach().clone() for matrix in matrices]
    try:
        with torch.no_grad():
            for matrix in matrices:
                matrix.copy_(rounded(matrix, bits))
        yield
    finally:
        with torch.no_grad():
            for matrix, before in zip(matrices, kept, strict=True):
                matrix.copy_(before)
