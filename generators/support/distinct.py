"""Different numbers in a row, drawn for many rows at once."""

import numpy as np

#: random numbers that are ordered, in memory at once
DRAWN_AT_ONCE = 4_000_000


def distinct(rng: np.random.Generator, n: int, m: int, of: int) -> np.ndarray:
    """m different numbers below `of` in each row, int64[n, m], uniform."""
    drawn = np.empty((n, m), np.int64)
    rows = max(1, DRAWN_AT_ONCE // of)
    for i in range(0, n, rows):
        drawn[i : i + rows] = rng.random((min(rows, n - i), of)).argsort(axis=1)[:, :m]
    return drawn
