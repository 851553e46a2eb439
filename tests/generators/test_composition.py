"""Compositions of facts against enumeration."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import best_guess

from generators.composition import Composition
from generators.streams import Stream, generator

SMALL = Composition(entities=30, relations=6, out_degree=4, phi=2.0, ood=0.2, held_out=0.1)


def facts(task: Composition) -> dict[tuple[int, int], tuple[int, bool]]:
    """(head, relation) -> (tail, is OOD), read off the documents of single facts."""
    batch = task.documents(np.ones(task.facts, int), np.arange(task.facts))
    found = {}
    for fact, row in enumerate(batch.tokens):
        head, relation, tail = numbers(task, row)
        found[head, relation] = (tail, bool(task.world["is_ood"][fact]))
    return found


def numbers(task: Composition, row: np.ndarray) -> tuple[int, ...]:
    return tuple(int(word[1:]) for word in task.vocabulary.decode(row).split())


def questions(task: Composition, split: str, n: int) -> set[tuple[int, ...]]:
    batch = task.sample(generator(task.seed, Stream.EVALUATION), n, split=split, difficulty=2)
    return {numbers(task, row) for row in batch.tokens}


@given(st.integers(0, 20), st.booleans())
def test_compositions_follow_the_facts(seed: int, cot: bool) -> None:
    task = SMALL.model_copy(update={"cot": cot}).bind(seed)
    known = facts(task)
    assert len(known) == 120 and sum(ood for _, ood in known.values()) == 24
    for split in task.splits:
        batch = task.sample(generator(seed, Stream.EVALUATION), 20, split=split, difficulty=2)
        for row, mask in zip(batch.tokens, batch.loss_mask, strict=True):
            head, first, second, *told = numbers(task, row)
            bridge, is_ood = known[head, first]
            tail, second_is_ood = known[bridge, second]
            assert told == ([bridge, tail] if cot else [tail])
            assert is_ood == second_is_ood == (split == "ood")
            assert mask.sum() == len(told) and mask[3:].all()


def test_splits_are_disjoint_and_complete() -> None:
    task = SMALL.bind(2)
    every = {s: questions(task, s, task.count(s, 2)) for s in ("validation", "test", "ood")}
    every["train"] = questions(task, "train", 20_000)
    assert {s: len(q) for s, q in every.items()} == {s: task.count(s, 2) for s in task.splits}
    assert len(set().union(*every.values())) == sum(map(len, every.values()))
    known = facts(task)
    pairs = [
        (ood, known[tail, r][1])
        for tail, ood in known.values()
        for r in range(6)
        if (tail, r) in known
    ]
    assert task.count("train", 2) == 2 * 96
    assert task.count("test", 2) == round(0.1 * pairs.count((False, False)))
    assert task.count("ood", 2) == pairs.count((True, True))


def test_floors_by_enumeration() -> None:
    task = SMALL.bind(5)
    known = facts(task)
    asked = [
        ((first, second), known[bridge, second][0])
        for (_, first), (bridge, _) in known.items()
        for second in range(6)
        if (bridge, second) in known
    ]
    floors = task.oracle_floors(2)
    assert floors["relations"] == pytest.approx(best_guess(asked))
    last = best_guess((relations[1], tail) for relations, tail in asked)
    assert floors["last_relation"] == pytest.approx(last)
    single = best_guess((relation, tail) for (_, relation), (tail, _) in known.items())
    assert task.floors(1, "train")["relations"] == pytest.approx(single)


def test_published_sizes() -> None:
    """40,000 facts, 2,000 of them OOD; φ = 18 is 684,000 compositions and still possible."""
    task = Composition(phi=18).bind(0)
    assert (task.facts, task.ood_facts, task.count("train", 2)) == (40_000, 2_000, 684_000)
    assert task.information_bits() == pytest.approx(40_000 * np.log2(2000))


def test_every_document_is_equally_likely_in_training() -> None:
    task = SMALL.bind(0)
    batch = task.sample(generator(0, Stream.TRAIN), 20_000)
    share = 120 / (120 + 192)
    assert abs((batch.difficulty == 1).mean() - share) < 5 * (share * (1 - share) / 20_000) ** 0.5


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="out_degree 300 needs as many different relations"):
        Composition(out_degree=300)
    with pytest.raises(ValueError, match="ood 1e-05 of 40000 facts is 0"):
        Composition(ood=1e-5)
    with pytest.raises(ValueError, match="phi 25.0 times 38000 ID facts asks for 950000"):
        Composition(phi=25).bind(0).count("train", 2)
    with pytest.raises(ValueError, match="no difficulty 1 in its test split; it has 2"):
        SMALL.bind(0).sample(generator(0, Stream.EVALUATION), 2, split="test", difficulty=1)
