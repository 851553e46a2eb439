"""Copying, read off the tokens."""

import numpy as np
import pytest
from laws import chi_square, in_splits
from pydantic import ValidationError

from generators.copying import Copying
from generators.streams import Stream, generator


@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_second_half_is_the_first(distinct, split):
    task = Copying(length=12, shortest=6, symbols=15, distinct=distinct).bind(0)
    batch = task.sample(generator(0, Stream.TRAIN), 300, split=split)
    repeats = 0
    for i, row in enumerate(batch.tokens):
        bos, *words = task.vocabulary.decode(row).split()
        n = int(batch.difficulty[i])
        assert bos == "<bos>" and words[n] == "<copy>" and words[:n] == words[n + 1 :]
        repeats += n - len(set(words[:n]))
        assert batch.spans["answer"][i].tolist() == [n + 2, 2 * n + 2]
        assert batch.loss_mask[i].nonzero()[0].tolist() == list(range(n + 2, 2 * n + 2))
    assert (repeats == 0) == distinct
    assert set(batch.difficulty.tolist()) == set(range(6, 13))
    assert task.difficulties == (6, 12) and Copying().difficulties == (32,)


def test_splits_are_disjoint_and_cover():
    task = Copying(length=2, symbols=70, held_out=0.4).bind(0)
    train, validation, test = in_splits(task, lambda row: row[1:3].tobytes(), 40_000)
    assert len(train | validation | test) == 70 * 69
    assert task.floors() == {"chance": pytest.approx(1 / (70 * 69))}
    assert len(test) == pytest.approx(0.2 * 70 * 69, rel=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"length": 80}, "length 80 distinct symbols are more than the symbols 64"),
        ({"length": 600, "distinct": False}, "1202 tokens, more than .* 1024; .* at most 511"),
        ({"shortest": 1}, "only 64 sequences of 1 of 64 symbols; needed are 4096"),
        ({"shortest": 40}, "shortest 40 is more than length 32"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Copying(**fields)


def test_symbols_are_uniform():
    task = Copying(length=3, symbols=20, distinct=False).bind(0)
    batch = task.sample(generator(0, Stream.TRAIN), 20_000)
    counts = np.bincount(batch.tokens[:, 1] - task.vocabulary.id("0"), minlength=20)
    assert chi_square(counts, 1000) < 43.8  # 19 degrees, p = 0.001
