"""p-hop induction against its definition, followed step by step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import in_splits
from pydantic import ValidationError

from generators.phop import PHop
from generators.streams import Stream, generator


def hop(sequence, i):
    """The latest place j <= i with sequence[j - 1] == sequence[i]."""
    return max(j for j in range(1, i + 1) if sequence[j - 1] == sequence[i])


tasks = st.builds(
    PHop,
    length=st.integers(20, 40),
    alphabet=st.integers(3, 6),
    hops=st.integers(1, 6),
    mixed=st.booleans(),
    cot=st.booleans(),
)


@given(tasks, st.integers(0, 20), st.sampled_from(["train", "validation", "test"]))
def test_answers_follow_the_definition(task, seed, split):
    task = task.bind(seed)
    batch = task.sample(generator(seed, Stream.TRAIN), 32, split=split)
    for i, row in enumerate(batch.tokens):
        marker, *sequence = task.vocabulary.decode(row[: task.length + 1]).split()
        hops = int(marker.strip("<>"))
        assert hops == batch.difficulty[i] and (task.mixed or hops == task.hops)
        way, at = [], len(sequence) - 1
        for _ in range(hops):
            at = hop(sequence, at)
            way.append(sequence[at])
        wanted = way if task.cot else way[-1:]
        assert task.vocabulary.decode(row[task.length + 1 :]).split() == ["<ans>", *wanted]
        start, stop = batch.spans["answer"][i]
        assert batch.loss_mask[i].nonzero()[0].tolist() == list(range(start, stop))
        assert stop - start == len(wanted) and start == task.length + 2
        numbers = [int(batch.latents[f"hop.{j}"][i]) for j in range(1, hops + 1)]
        assert [chr(97 + n) for n in numbers] == way


def test_floor_and_answers_given_the_last_symbol():
    task = PHop(length=40, hops=3).bind(0)
    for hops in (1, 2):
        batch = task.sample(generator(0, Stream.TRAIN), 20_000, difficulty=hops)
        first, last = batch.latents["hop.0"], batch.latents[f"hop.{hops}"]
        counts = np.bincount(first * 4 + last, minlength=16).reshape(4, 4)
        share = (counts / counts.sum(1, keepdims=True)).max(1).mean()
        assert share == pytest.approx(task.floors(hops)["last_symbol"], abs=0.02)
    assert task.floors(1)["last_symbol"] == task.floors(2)["last_symbol"] == pytest.approx(1 / 3)
    assert task.floors(3)["last_symbol"] == pytest.approx(7 / 27)


def test_splits_are_told_by_the_sequence():
    task = PHop(length=8, hops=1, alphabet=4, held_out=0.4).bind(0)
    train, validation, test = in_splits(task, lambda row: row[:9].tobytes(), 60_000)
    share = len(test) / len(train | validation | test)
    assert share == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"length": 20, "hops": 7}, "hops 7 need .* 23 symbols, length is 20; .* at most 6"),
        ({"length": 2000}, "2003 tokens, more than the context of 1024; lower length .* 1021"),
        ({"length": 5, "hops": 1}, "only 1024 sequences"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        PHop(**fields)
