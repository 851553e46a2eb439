"""What a model reaches that memorised its training questions and composes nothing.

Held-out questions share parts with those of training: the relations, the last relation, the
operands in another order. `commonest_guess` and `exclusion_guess` are the best that can be made of
the answers to such siblings. They are floors that training allows, unlike guesses that know how
the held-out answers are distributed.
"""

import numpy as np


def commonest_guess(
    trained: np.ndarray,
    trained_answer: np.ndarray,
    asked: np.ndarray,
    asked_answer: np.ndarray,
    answers: int,
) -> float:
    """The expected accuracy of the commonest training answer among questions of the same key.

    Ties are broken at random; a key that training lacks is answered by chance.

    Args:
        trained, trained_answer: int[n], key and answer (0 … answers-1) of the training questions.
        asked, asked_answer: int[m], of the held-out ones.
    """
    code, count = np.unique(_code(trained, trained_answer, answers), return_counts=True)
    key = code // answers
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    most = np.repeat(np.maximum.reduceat(count, starts), np.diff([*starts, len(key)]))
    tied = np.repeat(np.add.reduceat(count == most, starts), np.diff([*starts, len(key)]))
    share = np.where(count == most, 1 / tied, 0.0)
    wanted = _code(asked, asked_answer, answers)
    place = np.minimum(np.searchsorted(code, wanted), len(code) - 1)
    right = np.where(code[place] == wanted, share[place], 0.0)
    return float(np.where(np.isin(asked, trained), right, 1 / answers).mean())


def exclusion_guess(
    trained: np.ndarray, trained_answer: np.ndarray, asked: np.ndarray, answers: int
) -> float:
    """The expected accuracy of a guess among the answers that no training question has taken.

    This holds where questions of one key all have different answers, as the entities of one
    string of permutations do.

    Args: as `commonest_guess`.
    """
    taken_by, taken = np.unique(
        np.unique(_code(trained, trained_answer, answers)) // answers, return_counts=True
    )
    place = np.searchsorted(taken_by, asked)
    found = np.isin(asked, taken_by)
    left = np.full(len(asked), answers)
    left[found] -= taken[place[found]]
    return float((1 / left).mean())


def record_guess(
    shape: tuple[int, ...], trained: tuple[np.ndarray, ...], asked: tuple[np.ndarray, ...]
) -> float:
    """The accuracy of the guess that the entity with the better training record is greater.

    The record of an entity is its mean sign over its training comparisons by the attribute.

    Args:
        shape: attributes and entities that there are.
        trained, asked: attribute, two entities and the sign of the first against the second,
            int[n] each.
    """
    attribute, e1, e2, sign = trained
    total, times = np.zeros(shape), np.zeros(shape)
    for entity, points in ((e1, sign), (e2, -sign)):
        np.add.at(total, (attribute, entity), points)
        np.add.at(times, (attribute, entity), 1)
    record = total / np.maximum(times, 1)
    attribute, e1, e2, sign = asked
    guess = np.sign(record[attribute, e1] - record[attribute, e2])
    # equal records say nothing; < and > are equally common over both orders
    greater = max((sign != 0).mean() / 2, (sign == 0).mean())
    return float(np.where(guess == 0, greater, guess == sign).mean())


def mean_of_shared(floors: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each floor that all have."""
    names = [name for name in floors[-1] if all(name in f for f in floors)]
    return {name: float(np.mean([f[name] for f in floors])) for name in names}


def _code(key: np.ndarray, answer: np.ndarray, answers: int) -> np.ndarray:
    """One number for a key and an answer, int[n], of 32 bits if they fit: there may be millions."""
    most = (int(key.max(initial=0)) + 1) * answers
    code = np.multiply(key, answers, dtype=np.int32 if most < 2**31 else np.int64)
    code += answer
    return code
