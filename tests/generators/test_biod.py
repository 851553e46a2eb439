"""bioD: every string from its set, the bit formula against counting, exact exposures."""

import re
from itertools import permutations
from math import comb, log2
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import chi_square
from pydantic import ValidationError

from generators.biod import BioD
from generators.streams import Stream, generator

tasks = st.builds(
    BioD,
    people=st.integers(1, 30),
    attributes=st.integers(1, 5),
    chunks=st.integers(1, 3),
    diversity=st.integers(1, 9),
    length=st.integers(2, 3),
    alphabet=st.integers(3, 6),
    name_length=st.just(2),
    name_alphabet=st.integers(6, 9),
    permute=st.booleans(),
)


@given(tasks, st.integers(0, 50))
def test_documents_tell_the_world(task, seed):
    task = task.bind(seed)
    batch = task.sample(generator(seed, Stream.TRAIN), 40, index=7)
    for row, person in zip(batch.tokens, batch.latents["person"], strict=True):
        words = task.vocabulary.decode(row).split()
        assert words[0] == "<bos>" and len(words) == task.context_length
        assert words[1:3] == [f"n{i}" for i in task.world["names"][person]]
        told = {}
        for at in range(3, len(words), 1 + task.value_length):
            told[words[at]] = list(map(int, words[at + 1 : at + 1 + task.value_length]))
        for k in range(task.attributes):
            chunks = [task.world["sets"][k, d].tolist() for d in task.world["values"][person, k]]
            assert told[f"a{k}"] == sum(chunks, [])
        if not task.permute:
            assert list(told) == [f"a{k}" for k in range(task.attributes)]
    for k in range(task.attributes):
        start, stop = batch.spans[f"a{k}"].T
        before = task.vocabulary.id(f"attribute:a{k}")
        assert (batch.tokens[np.arange(40), start - 1] == before).all()
        assert (stop - start == task.value_length).all()
    assert batch.loss_mask[:, 1:].all() and not batch.loss_mask[:, 0].any()


def test_orders_are_uniform():
    task = BioD(people=1, attributes=3).bind(0)
    batch = task.sample(generator(0, Stream.TRAIN), 6000)
    starts = np.stack([batch.spans[f"a{k}"][:, 0] for k in range(3)], axis=1)
    orders = [tuple(row) for row in starts.argsort(axis=1).tolist()]
    counts = np.array([orders.count(order) for order in permutations(range(3))])
    assert chi_square(counts, 1000) < 20.5  # chi-square, 5 degrees, p = .001


def test_information_against_the_number_of_worlds():
    """log2 n! ≥ n·log2(n/e): the formula undercounts by at most log2 e bits per choice."""
    task = BioD(people=40, attributes=3, chunks=2, diversity=6, length=2, alphabet=7, name_length=2)
    worlds = comb(64**2, 40) * comb(49, 6) ** 3 * 6 ** (40 * 3 * 2)
    short = log2(worlds) - task.information_bits()
    assert 0 < short < (40 + 3 * 6) * 1.4427
    assert task.value_bits == pytest.approx(6 * log2(6))
    design = BioD(people=640)  # the measured starting point: 20 tokens a person
    assert design.context_length == 20
    assert design.information_bits() == pytest.approx(640 * (18 - log2(640) + 48))


def test_everybody_once_per_epoch_and_worlds_by_seed():
    task = BioD(people=23).bind(1)
    shown = task.sample(generator(1, Stream.TRAIN), 69, index=0).latents["person"]
    assert (np.sort(shown.reshape(3, 23)) == np.arange(23)).all()
    assert not np.array_equal(task.world["names"], BioD(people=23).bind(2).world["names"])
    pinned = BioD(people=23, world_seed=1).bind(2)
    assert np.array_equal(task.world["values"], pinned.world["values"])


def test_impossible_requests_say_what_to_do():
    with pytest.raises(ValidationError, match="people 5 .* 4 names of 1 .* raise name_length"):
        BioD(people=5, name_length=1, name_alphabet=4)
    with pytest.raises(ValidationError, match="diversity 65 is more than the 64 chunks"):
        BioD(diversity=65)
    assert BioD(diversity=64)
    with pytest.raises(ValueError, match="no split 'test'; it has train"):
        BioD().sample(generator(0, Stream.TRAIN), 1, split="test")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"people": 250}, []),  # all 64 strings of a letter: nothing to tell about them
        (
            {"people": 250, "alphabet": 65},
            ["people 250 are fewer than D·log2 N = 510", "of 65 strings of 1 "],
        ),
        ({"people": 800, "alphabet": 65}, ["of 65 strings of 1 letters 64 are used"]),
        ({"people": 100, "diversity": 16, "length": 2}, ["people 100 are fewer than"]),
        ({"people": 594, "diversity": 64, "length": 2}, []),  # 64·log2 594 = 589.8
        ({"people": 580, "diversity": 64, "length": 2}, ["people 580 are fewer"]),  # 587.6
        ({"people": 5000, "diversity": 8, "alphabet": 64}, []),
        ({"people": 5000, "diversity": 9, "alphabet": 64}, ["of 64 strings of 1 letters 9"]),
        ({"people": 1, "diversity": 1, "alphabet": 2, "length": 3}, []),
        ({"people": 1, "diversity": 1, "alphabet": 2, "length": 2}, ["of 4 strings"]),
    ],
)
def test_shapes_outside_the_definition_are_told_with_one_inside(fields: Any, said: list) -> None:
    task = BioD(**fields)
    found = task.caveats()
    assert len(found) == bool(said)
    for sentence in found:
        assert all(part in sentence for part in said)
        assert sentence.count(" and of ") == len(said) - 1
        shape = re.findall(r"such as diversity (\d+), length (\d+),", sentence)[0]
        inside = task.with_fields(diversity=int(shape[0]), length=int(shape[1]))
        assert inside.caveats() == ()
    assert BioD(people=109, diversity=16, length=2, alphabet=16).caveats() == ()
    assert BioD(people=108, diversity=16, length=2, alphabet=16).caveats() != ()
