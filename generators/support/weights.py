"""Weights of difficulties or components in a phase of training."""

from collections.abc import Mapping, Sequence

import numpy as np

from generators.plugins import nearest

#: names of what there is that a message lists in full
LISTED = 20


def check_weights(kind: str, weights: Mapping[str, float], known: Sequence[str]) -> None:
    """Raises ValueError for weights of what is not there, negative ones, or nothing but 0."""
    if not known:
        raise ValueError(
            f"task {kind} has no components to weigh, and no difficulties that its training draws"
        )
    for name in weights:
        if name not in known:
            there = ", ".join(known) if len(known) <= LISTED else f"{known[0]} to {known[-1]}"
            raise ValueError(
                f"task {kind} has nothing called {name!r} to weigh{nearest(name, known)}; "
                f"it has {there}"
            )
    if not weights or min(weights.values()) < 0 or max(weights.values()) == 0:
        raise ValueError(f"weights need to be 0 or more and not all 0, got {weights}")


def shares_of(weights: Mapping[str, float], known: Sequence[str]) -> np.ndarray:
    """The share of each of what there is, float64[len(known)]; 0 of what has no weight.

    >>> shares_of({"1": 1, "3": 3}, ["1", "2", "3"])
    array([0.25, 0.  , 0.75])
    """
    given = np.array([weights.get(name, 0.0) for name in known])
    given /= given.max()  # so that the largest numbers have a sum
    return given / given.sum()
