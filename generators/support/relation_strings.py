"""Answers to strings of relations over entities, and what can be guessed of them.

Legend: E entities, R relations, k relations in a string, S strings. String number
r1 + R·r2 + … + R^(k-1)·rk names the relations r1 … rk in the order in which they are followed.
"""

from collections.abc import Callable

import numpy as np

from generators.support.memoriser import commonest_guess, exclusion_guess
from generators.support.question_layout import share_of_most_frequent


def answers_of_strings(
    table: np.ndarray, most: int, cells: int, world: Callable[[], np.random.Generator]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """k = 1 … most -> (strings int64[S], answers int32[S, E]), the last relation varying slowest.

    Args:
        table: int32[R, E], where each relation leads from each entity.
        cells: most answers that are worked out; of more, a sample of strings stands for all.
        world: makes the generator that draws the sample.
    """
    R, E = table.shape
    found = {}
    string, images = np.zeros(1, np.int64), np.arange(E, dtype=np.int32)[None]
    for k in range(1, most + 1):
        if images.size * R > cells:
            n = max(1, min(20_000, len(images), cells // (R * E)))
            keep = np.sort(world().choice(len(images), n, replace=False))
            string, images = string[keep], images[keep]
        string = (np.arange(R)[:, None] * R ** (k - 1) + string).ravel()
        images = table[:, images].reshape(-1, E)
        found[k] = (string, images)
    return found


def oracle_floors(answer: np.ndarray, relations: int) -> dict[str, float]:
    """Best guesses from the string, and from its last relation, that know all answers [S, E]."""
    entities = answer.shape[1]
    return {
        "relations": share_of_most_frequent(answer, entities),
        "last_relation": share_of_most_frequent(answer.reshape(relations, -1), entities),
        "chance": 1 / entities,
    }


def memorised_floors(
    last: np.ndarray, answer: np.ndarray, train: np.ndarray, asked: np.ndarray, *, one_to_one: bool
) -> dict[str, float]:
    """What is guessed of the questions asked from the answers to those in training.

    Args:
        last: int[S], the last relation of each string.
        answer: int[S, E].
        train, asked: bool[S, E].
        one_to_one: the entities of a string have different answers, so that those taken in
            training can be excluded.
    """
    entities = answer.shape[1]
    names = ("relations", "last_relation", *["exclusion"] * one_to_one)
    if not (train.any() and asked.any()):  # of a sample of few strings
        return dict.fromkeys((*names, "chance"), 1 / entities)
    row = np.arange(len(answer), dtype=np.int32)  # of 32 bits, half of the memory
    row, last = np.broadcast_arrays(row[:, None], last.astype(np.int32)[:, None], answer)[:2]
    found = {
        name: commonest_guess(key[train], answer[train], key[asked], answer[asked], entities)
        for name, key in (("relations", row), ("last_relation", last))
    }
    if one_to_one:
        found["exclusion"] = exclusion_guess(row[train], answer[train], row[asked], entities)
    return {**found, "chance": 1 / entities}
