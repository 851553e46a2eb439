"""Tries in a row: what they are made of, and a model that learns from its own answer."""

import numpy as np
import pytest
from known_models import scripted, subject
from pydantic import ValidationError

from generators.mano import Mano
from generators.multihop import MultiHop
from generators.phop import PHop
from generators.retry import Retry
from generators.streams import Stream, generator
from probes.accuracy import Accuracy

HOPS = MultiHop(entities=8, relations=4, hops=3, world="permutation", held_out=0.3)
MANO = Mano(length=3, modulus=5, loss="all")


def stream(step=0):
    return generator(1, Stream.TRAIN, step)


@pytest.mark.parametrize("asked", [HOPS, MANO, PHop(length=64, hops=4)])
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_question_is_that_of_the_task_and_tries_follow_it(asked, split):
    task = Retry(task=asked, tries=3).bind(1)
    plain = asked.bind(1).sample(stream(), 200, split=split)
    batch = task.sample(stream(), 200, split=split)
    assert task.context_length == asked.bind(1).context_length + 2
    for row in range(200):
        start, stop = plain.spans["answer"][row]
        answer = plain.tokens[row, start]
        assert (batch.tokens[row, :start] == plain.tokens[row, :start]).all()
        tries = batch.tokens[row, start : start + 3]
        assert tries[-1] == answer and (batch.tokens[row, start + 3 :] == 0).all()
        assert (batch.loss_mask[row].nonzero()[0] - start).tolist() == [
            i for i in range(3) if tries[i] == answer
        ]
        assert batch.spans["answer"][row].tolist() == [start, start + 3]
        assert batch.spans["result"][row].tolist() == [start + 2, start + 3]
        if split == "test":
            assert (tries == answer).all()
    assert (batch.difficulty == plain.difficulty).all()


@pytest.mark.parametrize("right", [0.0, 0.5, 1.0])
def test_earlier_tries_are_right_as_often_as_is_said_or_by_chance(right):
    batch = Retry(task=HOPS, tries=4, right=right).bind(1).sample(stream(), 20_000)
    start = batch.spans["answer"][:, 0]
    tries = np.take_along_axis(batch.tokens, start[:, None] + np.arange(4), axis=1)
    found = (tries[:, :-1] == tries[:, -1:]).mean(0)
    assert found == pytest.approx(right + (1 - right) / 8, abs=0.01)


def test_a_model_that_mends_its_own_wrong_answer_is_right_at_the_second_try():
    """And one that repeats it is not."""
    task = Retry(task=HOPS, tries=2).bind(1)
    first_entity, table = 1 + HOPS.hops, HOPS.bind(1).table

    def answer(tokens, mends):
        asked = tokens[0] + 2
        if len(tokens) < asked:
            return 1
        entity = tokens[1] - first_entity
        for relation in tokens[2:asked]:
            entity = table[relation - first_entity - HOPS.entities, entity]
        wrong = first_entity + (entity + 1) % HOPS.entities
        seen = len(tokens) > asked and tokens[asked] == wrong
        return int(first_entity + entity) if mends and seen else int(wrong)

    for mends in (True, False):
        model = scripted(len(task.vocabulary), lambda tokens, m=mends: answer(tokens, m))
        for row in Accuracy(items=64, splits=("test",)).measure(subject(model, task)):
            assert row.value == mends
            assert row.floor == max(HOPS.bind(1).floors(row.difficulty).values())


def test_what_cannot_be_tried_again_is_refused():
    for asked, says in {
        "bios": "counts exposures",
        "random_sequences": "counts exposures",
        "brevo": "have up to [0-9]+ tokens; those that are tried again have one",
        "mqar": "documents of task mqar go on behind an answer",
        "copy": "have up to 32 tokens",
        "mixture": "mixture cannot stand here",
        "retry": "retry cannot stand here",
    }.items():
        with pytest.raises(ValidationError, match=says):
            Retry.model_validate({"task": {"kind": asked}})
    with pytest.raises(ValidationError, match="no chain of thought"):
        Retry.model_validate({"task": {"kind": "multihop", "cot": True}})
    with pytest.raises(ValidationError, match="tries\n.*greater than or equal to 2"):
        Retry(tries=1)
