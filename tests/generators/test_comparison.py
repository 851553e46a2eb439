"""Comparisons of entities against enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import best_guess

from generators.comparison import Comparison
from generators.streams import Stream, generator

SMALL = Comparison(entities=12, attributes=3, values=5, phi=2.0, ood=0.25, held_out=20)


def sign(a: int, b: int) -> str:
    return "<" if a < b else ">" if a > b else "="


def questions(task: Comparison, split: str, n: int) -> list[tuple[int, int, int, str]]:
    """(attribute, first, second, answer) of sampled comparisons, read off the text."""
    batch = task.sample(generator(task.seed, Stream.EVALUATION), n, split=split, difficulty=2)
    found = []
    for row in batch.tokens:
        a, e1, e2, *_, answer = task.vocabulary.decode(row).split()
        found.append((int(a[1:]), int(e1[1:]), int(e2[1:]), answer))
    return found


@given(st.integers(0, 20), st.booleans())
def test_answers_follow_the_values(seed: int, cot: bool) -> None:
    task = SMALL.model_copy(update={"cot": cot}).bind(seed)
    value = task.world["value"]
    for split in task.splits:
        for a, e1, e2, answer in questions(task, split, 12):
            assert answer == sign(value[a, e1], value[a, e2])
            assert {e1, e2} <= set(task.pool(split)[a].tolist())
    batch = task.sample(generator(seed, Stream.TRAIN), 40)
    for i, row in enumerate(batch.tokens):
        words = task.vocabulary.decode(row).split()
        if batch.difficulty[i] == 1:
            e, a, v = (int(word[1:]) for word in words)
            assert v == value[a, e]
        elif cot:
            a, e1, e2 = (int(word[1:]) for word in words[:3])
            assert words[3:5] == [f"v{value[a, e1]}", f"v{value[a, e2]}"]
        assert batch.loss_mask[i].sum() == (3 if cot and batch.difficulty[i] == 2 else 1)


def test_a_pair_is_in_one_split_in_both_orders() -> None:
    task = SMALL.bind(1)
    seen: dict[str, set] = {s: {q[:3] for q in questions(task, s, 4000)} for s in task.splits}
    assert {s: len(q) for s, q in seen.items()} == {s: task.count(s, 2) for s in task.splits}
    assert len(set().union(*seen.values())) == sum(map(len, seen.values()))
    for pairs in seen.values():
        assert all((a, e2, e1) in pairs for a, e1, e2 in pairs)
    assert task.count("train", 2) == 2 * 3 * 9 and task.count("ood", 2) == 3 * 3 * 2
    assert len(questions(task, "test", 20)) == len(set(questions(task, "test", 20)))


@pytest.mark.parametrize("split", ["test", "ood"])
def test_floors_by_enumeration(split: str) -> None:
    task = SMALL.bind(3)
    value = task.world["value"]
    asked = [
        (a, int(value[a, e1]), sign(value[a, e1], value[a, e2]))
        for a in range(3)
        for e1, e2 in itertools.permutations(task.pool(split)[a].tolist(), 2)
    ]
    floors = task.floors(2, split)
    assert floors["majority"] == pytest.approx(best_guess((a, s) for a, _, s in asked))
    assert floors["one_entity"] == pytest.approx(best_guess(((a, v), s) for a, v, s in asked))


def test_published_sizes() -> None:
    task = Comparison(phi=12.6)
    assert task.attributes * task.id_entities == 18_000
    assert task.bind(0).count("train", 2) == pytest.approx(12.6 * 18_000, abs=1)
    assert task.information_bits() == pytest.approx(20_000 * np.log2(20))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="ood 0.001 of 1000 entities is 1; two to compare"):
        Comparison(ood=0.001)
    with pytest.raises(ValueError, match="phi 1000.0 .* asks for 18000000 .* at most 898.7"):
        Comparison(phi=1000)
