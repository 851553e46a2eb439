"""Words and the size law against enumeration."""

import itertools

import numpy as np
import pytest
from laws import chi_square

from generators.streams import Stream, generator
from generators.support.words import Words, Writing


def test_every_word_is_spelled_once():
    words = Words(3, 1, 3)
    assert len(words) == 3 + 9 + 27
    spelled = {tuple(words.tokens[i] for i in row if i >= 0) for row in words.spelling}
    wanted = set()
    for length in (1, 2, 3):
        for digits in itertools.product("123", repeat=length):
            wanted.add((*(f"{d}-" for d in digits[:-1]), digits[-1]))
    assert spelled == wanted
    assert len(Words(4, 5, 7)) == 21_504 and len(Words(3, 5, 7)) == 3_159
    assert len(Words(50, 1, 2)) == 2_550 and len(Words(4, 2, 4)) == 336


@pytest.mark.parametrize("few", [True, False])
def test_distinct_words_follow_drawing_again(few, monkeypatch):
    """Pairs of different words: P(a, b) = w_a w_b / (1 - w_a), symmetrised by the shuffle."""
    words = Words(2, 1, 2)
    counts = np.full(40_000, 2)
    rng = generator(0, Stream.TRAIN)
    found = words.distinct(rng, counts) if few else words._first_distinct(rng, counts)
    weight = np.repeat(1 / words.per_length, words.per_length) / 2
    law = np.outer(weight, weight) / (1 - weight)[:, None]
    np.fill_diagonal(law, 0)
    law = law + law.T
    assert (found[:, 0] != found[:, 1]).all()
    pairs = np.bincount(found.min(1) * 6 + found.max(1), minlength=36).reshape(6, 6)
    upper = np.triu_indices(6, 1)
    assert chi_square(pairs[upper], 40_000 * law[upper]) < 36.1  # 14 degrees, p = 0.001


def test_counts_of_distinct_words_may_differ():
    counts = np.array([3, 6, 4])
    found = Words(2, 1, 2).distinct(generator(0, Stream.TRAIN), counts)
    assert ((found >= 0).sum(1) == counts).all()
    assert all(len(set(row[row >= 0].tolist())) == n for row, n in zip(found, counts, strict=True))


def test_reading_inverts_writing():
    writing = Writing(Words(3, 1, 3), ["<bos>", "<ans>"])
    items = np.array([[39, 5, -1, 38, 40], [39, 0, 7, -1, 40]])
    layout = writing.lay_out(items, items == 38)
    for row, wanted in zip(layout.tokens, items, strict=True):
        read = writing.read(row[row > 0])
        table = {tuple(writing._items[1][i][: writing._items[0][i]].tolist()): i for i in range(41)}
        assert [table[item] for item in read] == [i for i in wanted if i >= 0]
    assert layout.loss_mask.sum() == 3  # the word of three tokens
