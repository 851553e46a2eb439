"""Calibration: the error of numbers that are given as probabilities of being right."""

import numpy as np


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Σ_b |B_b|/n · |mean right in B_b - mean confidence in B_b| (Guo et al., 1706.04599 eq. 3).

    The bins are of equal width: B_b holds the confidences in ((b-1)/M, b/M], the first one 0 as
    well. 0 is perfect, 1 the worst; of few items it is too large, as noise is not taken off.

    Args:
        confidence: float[n] in [0, 1].
        right: bool[n].

    Raises:
        ValueError: nothing to look at, unequal lengths, bins < 1, or no probability.
    """
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    if bins < 1 or not confidence.size or confidence.shape != right.shape:
        raise ValueError(
            f"needed as many confidences as outcomes and 1 or more bins, got {confidence.size} "
            f"and {right.size} in {bins} bins"
        )
    slack = 1e-6  # a sum of probabilities in fp32
    if not ((confidence >= -slack) & (confidence <= 1 + slack)).all():
        raise ValueError(f"confidences lie in [0, 1], got {confidence.min()} to {confidence.max()}")
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(bin_of, right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / confidence.size)
