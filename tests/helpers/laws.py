"""What samples are held against: laws by their chi-square, splits by what they share."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from generators.streams import Stream, generator
from generators.task import Task


def chi_square(found: Any, expected: Any) -> float:
    return float(((np.asarray(found) - expected) ** 2 / expected).sum())


def in_splits(
    task: Task, of_row: Callable[[np.ndarray], Any], n: int, difficulty: int | None = None
) -> list[set]:
    """What n documents of each split contain, `of_row` by `of_row`; no two splits share any."""
    found = []
    for split in task.splits:
        rng = generator(task.seed, Stream.TRAIN)
        batch = task.sample(rng, n, split=split, difficulty=difficulty)
        found.append({of_row(row) for row in batch.tokens})
    assert not any(a & b for a, b in combinations(found, 2))
    return found
