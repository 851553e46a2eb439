"""Documents as arrays: what a task may leave out, and rows of what it gives."""

import numpy as np

from generators.batch import Batch, stacked


def batch(documents: int, **fields: np.ndarray) -> Batch:
    tokens = np.arange(1, 3 * documents + 1, dtype=np.int32).reshape(documents, 3)
    return Batch(tokens, tokens > 2, **fields)


def test_documents_without_a_difficulty_have_difficulty_0() -> None:
    assert batch(4).difficulty.tolist() == [0, 0, 0, 0]
    assert batch(4).difficulty.dtype == np.int32
    given = np.array([1, 2, 3, 4], np.int32)
    assert batch(4, difficulty=given).difficulty is given


def test_rows_are_chosen_by_number_and_by_mask() -> None:
    for index in (np.array([2, 0]), np.array([True, False, True, False])):
        found = batch(4).rows(index)
        assert found.tokens.tolist() == batch(4).tokens[index].tolist()
        assert found.difficulty.tolist() == [0, 0]


def test_batches_with_and_without_a_difficulty_below_each_other() -> None:
    found = stacked([batch(2), batch(1, difficulty=np.array([7], np.int32))])
    assert found.difficulty.tolist() == [0, 0, 7]
