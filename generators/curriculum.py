"""How often each number of hops occurs in training."""

from collections.abc import Sequence

import numpy as np


def hop_shares(weights: Sequence[float] | None, hops: Sequence[int]) -> np.ndarray | None:
    """float64[len(hops)], the share of each number of hops; None, equal parts, without weights.

    Raises:
        ValueError: not one weight for each number of hops, a negative one, or nothing but 0.
    """
    if weights is None:
        return None
    if len(weights) != len(hops) or min(weights) < 0 or sum(weights) == 0:
        raise ValueError(
            f"hop_weights {list(weights)} needs one number for each of {list(hops)} hops, "
            "0 or more and not all 0"
        )
    return np.array(weights) / sum(weights)
