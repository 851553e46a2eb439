"""Accuracy of models whose accuracy is known."""

import numpy as np
import pytest
from known_models import scripted, subject

from generators.multihop import MultiHop
from generators.streams import Stream, generator
from generators.task import Batch
from models.config import LoopedConfig
from probes.accuracy import Accuracy, greedy_answers


@pytest.fixture
def task():
    return MultiHop(entities=8, relations=4, hops=3, world="permutation").bind(1)


def solver(task):
    """Answers by looking the facts up in the world: the positive control."""
    first_entity, first_relation = 1 + task.hops, 1 + task.hops + task.entities

    def answer(tokens):
        if len(tokens) < tokens[0] + 2:
            return 1
        entity = tokens[1] - first_entity
        for relation in tokens[2 : 2 + tokens[0]]:
            entity = task.table[relation - first_relation, entity]
        return int(first_entity + entity)

    return answer


def test_an_oracle_is_always_right(task):
    model = scripted(len(task.vocabulary), solver(task))
    rows = Accuracy(items=64).measure(subject(model, task))
    assert {(r.split, r.difficulty) for r in rows} == {
        ("train", 1), ("train", 2), ("train", 3),
        ("validation", 2), ("validation", 3), ("test", 2), ("test", 3),
    }  # fmt: skip
    assert all(r.value == 1 for r in rows)


def test_a_constant_answer_is_right_as_often_as_it_occurs(task):
    constant = 1 + task.hops + 3
    rows = Accuracy(items=500, splits=("train",)).measure(
        subject(scripted(len(task.vocabulary), lambda _: constant), task)
    )
    for row in rows:
        assert row.floor == pytest.approx(1 / 8)
        assert row.low < 1 / 8 < row.high
        assert 0 < row.value < 0.25


def test_the_answer_is_not_visible_to_the_model(task):
    """Copying the token after the prompt would be right always, if it were there."""
    seen = []

    def spy(tokens):
        seen.append(tuple(tokens))
        return 1

    batch = task.sample(generator(0, Stream.EVALUATION), 16)
    greedy_answers(scripted(len(task.vocabulary), spy), batch)
    full = {
        tuple(t[: s[1]].tolist()) for t, s in zip(batch.tokens, batch.spans["answer"], strict=True)
    }
    assert seen and not full & set(seen)


def test_longer_answers_are_generated_token_by_token():
    """Counting up from the last token: an error early spoils what follows."""
    tokens = np.array([[3, 4, 5, 6, 0], [7, 1, 2, 0, 0], [5, 6, 9, 8, 0]], np.int32)
    answer = np.array([[1, 4], [1, 3], [1, 4]], np.int32)
    batch = Batch(tokens, tokens > 0, {"answer": answer}, {}, np.zeros(3, np.int32))
    generated = greedy_answers(scripted(12, lambda t: t[-1] + 1), batch)
    assert generated.tolist() == [[4, 5, 6], [8, 9, 0], [6, 7, 8]]
    task = MultiHop(entities=8, relations=4, hops=2)
    assert task.is_correct(batch, generated).tolist() == [True, False, False]


def test_unknown_split_and_difficulty_are_named(task):
    model = scripted(len(task.vocabulary), lambda _: 1)
    with pytest.raises(ValueError, match="no split 'tset'"):
        Accuracy(splits=("tset",)).measure(subject(model, task))
    with pytest.raises(ValueError, match="no difficulty 7"):
        Accuracy(difficulties=(7,)).measure(subject(model, task))


def test_every_loop_is_read(task):
    model = task and LoopedConfig(width=8, heads=1, loops=3).build(
        len(task.vocabulary), gate=False, seed=0
    )
    rows = Accuracy(items=8, splits=("test",), loops="all").measure(subject(model, task))
    assert [r.loop for r in rows] == [1, 2, 3, 1, 2, 3]
