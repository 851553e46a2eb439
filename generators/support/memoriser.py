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


def _code(key: np.ndarray, answer: np.ndarray, answers: int) -> np.ndarray:
    """One number for a key and an answer, int64[n]."""
    return key.astype(np.int64) * answers + answer
