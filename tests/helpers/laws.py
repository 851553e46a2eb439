"""Chi-square of samples, the best guess without an ability, and what splits share."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
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


def best_guess(asked: Iterable[tuple[Hashable, Hashable]]) -> float:
    """Share of right answers among (known, answer) pairs: the commonest one to what is known."""
    answers: dict[Hashable, Counter] = {}
    for known, answer in asked:
        answers.setdefault(known, Counter())[answer] += 1
    return sum(max(c.values()) for c in answers.values()) / sum(c.total() for c in answers.values())
