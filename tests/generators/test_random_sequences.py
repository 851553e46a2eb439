"""Random sequences: drawn once, uniform, repeated exactly."""

import doctest
import hashlib
import subprocess
import sys
from math import comb, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import generators.random_sequences
from generators.random_sequences import RandomSequences
from generators.streams import Stream, generator


@given(st.integers(1, 16), st.integers(2, 8), st.integers(4, 20), st.integers(0, 50))
@settings(max_examples=25, deadline=None)
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
    assert ((pairs - expected) ** 2 / expected).sum() < 37.7  # chi-square, 15 degrees, p = .001


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


def test_another_process_makes_the_same_bytes():
    code = (
        "import hashlib; from generators.random_sequences import RandomSequences;"
        "from generators.streams import generator, Stream;"
        "b = RandomSequences().bind(4).sample(generator(4, Stream.TRAIN, 9), 512, index=700);"
        "print(hashlib.sha256(b.tokens.tobytes() + b.loss_mask.tobytes()).hexdigest()[:16])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    task = RandomSequences().bind(4)
    batch = task.sample(generator(4, Stream.TRAIN, 9), 512, index=700)
    own = hashlib.sha256(batch.tokens.tobytes() + batch.loss_mask.tobytes()).hexdigest()[:16]
    # golden: a change of these bytes needs a new `version` of the task (numpy 2.x)
    assert done.stdout.strip() == own == "c57f815b58eecc92"


def test_the_example_in_the_docstring():
    result = doctest.testmod(generators.random_sequences)
    assert result == doctest.TestResults(failed=0, attempted=3)
