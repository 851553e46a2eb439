"""Random sequences: drawn once, uniform, repeated exactly."""

from math import comb, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import chi_square
from pydantic import ValidationError

from generators.random_sequences import RandomSequences
from generators.streams import Stream, generator


@given(st.integers(1, 16), st.integers(2, 8), st.integers(4, 20), st.integers(0, 50))
def test_documents_are_the_drawn_sequences_each_once_per_epoch(n, length, alphabet, seed):
    task = RandomSequences(sequences=n, length=length, alphabet=alphabet).bind(seed)
    batch = task.sample(generator(seed, Stream.TRAIN), 2 * n, index=0)
    for row, which in zip(batch.tokens, batch.latents["sequence"], strict=True):
        assert task.vocabulary.decode(row) == " ".join(["<bos>", *map(str, task.world[which])])
    assert (np.sort(batch.latents["sequence"].reshape(2, n)) == np.arange(n)).all()
    assert len({tuple(row) for row in batch.tokens.tolist()}) == n
    assert batch.loss_mask[:, 1:].all() and not batch.loss_mask[:, 0].any()


def test_letters_are_uniform_and_independent_of_the_one_before():
    world = RandomSequences(sequences=2000, length=20, alphabet=4).bind(0).world
    pairs = np.bincount((4 * world[:, :-1] + world[:, 1:]).ravel(), minlength=16)
    expected = 2000 * 19 / 16
    assert chi_square(pairs, expected) < 37.7  # chi-square, 15 degrees, p = .001


def test_information_against_the_number_of_worlds():
    """log2 n! ≥ n·log2(n/e): the formula undercounts by at most log2 e bits per sequence."""
    task = RandomSequences(sequences=50, length=3, alphabet=8)
    short = log2(comb(8**3, 50)) - task.information_bits()
    assert 0 < short < 50 * 1.4427
    assert task.sequence_bits == 9


def test_impossible_requests_say_what_to_do():
    with pytest.raises(ValidationError, match="sequences 9 is more than the 8 of 3 out of 2"):
        RandomSequences(sequences=9, length=3, alphabet=2)
    with pytest.raises(ValueError, match="no split 'test'; it has train"):
        RandomSequences().sample(generator(0, Stream.TRAIN), 1, split="test")
