"""Multi-hop facts against enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import best_guess, chi_square

from generators.multihop import MultiHop
from generators.streams import Stream, generator


def questions(task, batch):
    """Documents as (entity, relations…, answer) numbers, read off the tokens alone."""
    first_entity, first_relation = 1 + task.hops, 1 + task.hops + task.entities
    found = []
    for row in batch.tokens:
        hops = int(row[0])
        relations = tuple(int(t) - first_relation for t in row[2 : 2 + hops])
        found.append((int(row[1]) - first_entity, relations, int(row[2 + hops]) - first_entity))
    return found


def answer(task, entity, relations):
    for relation in relations:
        entity = int(task.table[relation, entity])
    return entity


tasks = st.builds(
    MultiHop,
    entities=st.integers(4, 12),
    relations=st.integers(4, 6),
    hops=st.integers(2, 3),
    world=st.sampled_from(["function", "permutation"]),
    held_out=st.floats(0.2, 0.5),
)


@given(tasks, st.integers(0, 50))
def test_answers_and_bridges_follow_the_world(task, seed):
    task = task.bind(seed)
    batch = task.sample(generator(seed, Stream.TRAIN), 64)
    for i, (entity, relations, found) in enumerate(questions(task, batch)):
        assert found == answer(task, entity, relations)
        assert batch.latents["hop.1"][i] == answer(task, entity, relations[:1])
        assert batch.loss_mask[i].sum() == 1
        start, stop = batch.spans["answer"][i]
        assert batch.loss_mask[i, start] and stop == start + 1 == len(relations) + 3
        assert (batch.tokens[i, stop:] == 0).all()


@given(tasks, st.integers(0, 50))
def test_splits_are_disjoint_and_complete(task, seed):
    task = task.bind(seed)
    for hops in task.difficulties[1:]:
        parts = [set(task.listed(split, hops).tolist()) for split in task.splits]
        assert sum(map(len, parts)) == len(set().union(*parts)) == task.combinations(hops)
        for number in (1, 2):
            share = len(parts[number]) / task.combinations(hops)
            n = task.combinations(hops)
            expected, sigma = task.held_out / 2, (task.held_out / 2 / n) ** 0.5
            assert abs(share - expected) < 5 * sigma


def test_no_held_out_question_is_ever_trained_on():
    task = MultiHop(entities=6, relations=4, hops=3, held_out=0.3).bind(3)
    train = set()
    for step in range(50):
        train |= set(questions(task, task.sample(generator(3, Stream.TRAIN, step), 500)))
    held_out = set()
    for split, hops in itertools.product(("validation", "test"), (2, 3)):
        n = task.count(split, hops)
        batch = task.sample(generator(3, Stream.EVALUATION), n, split=split, difficulty=hops)
        found = set(questions(task, batch))
        assert len(found) == n  # without repetition
        assert not found & held_out
        held_out |= found
    assert not train & held_out
    # positive control: training has seen all the rest
    assert len(train | held_out) == 6 * (4 + 4**2 + 4**3)


def test_one_hop_facts_are_all_in_training():
    task = MultiHop(entities=6, relations=4, hops=2, held_out=0.3).bind(0)
    assert task.count("train", 1) == 24 and task.difficulties_of("test") == (2,)
    with pytest.raises(ValueError, match="no difficulty 1 in its test split; it has 2"):
        task.sample(generator(0, Stream.EVALUATION), 4, split="test", difficulty=1)


@pytest.mark.parametrize("world", ["function", "permutation"])
def test_floors_by_enumeration(world):
    task = MultiHop(entities=7, relations=3, hops=3, world=world).bind(5)
    for hops in (1, 2, 3):
        floors = task.oracle_floors(hops, "train")
        assert task.floors(hops, "train") == floors
        chains = itertools.product(range(3), repeat=hops)
        asked = [(chain, answer(task, e, chain)) for chain in chains for e in range(7)]
        assert floors["relations"] == pytest.approx(best_guess(asked))
        last = best_guess((chain[-1], found) for chain, found in asked)
        assert floors["last_relation"] == pytest.approx(last)
        if world == "permutation":
            assert floors == pytest.approx(dict.fromkeys(floors, 1 / 7))
    assert MultiHop().bind(0).oracle_floors(3)["relations"] == pytest.approx(0.2, abs=0.03)


def test_permutations_are_permutations_and_functions_are_not():
    task = MultiHop(entities=16, relations=8, world="permutation").bind(0)
    assert (np.sort(task.table, 1) == np.arange(16)).all()
    functions = MultiHop(entities=16, relations=8).bind(0)
    assert any(len(set(row.tolist())) < 16 for row in functions.table)
    assert functions.information_bits() == 8 * 16 * 4
    assert task.information_bits() == pytest.approx(8 * np.log2(np.arange(1, 17)).sum())


def test_hops_are_drawn_in_equal_parts():
    batch = MultiHop(hops=3).bind(0).sample(generator(0, Stream.TRAIN), 30_000)
    counts = np.bincount(batch.difficulty)[1:]
    assert chi_square(counts, 10_000) < 13.8  # chi-square, 2 degrees, p = 0.001


def test_worlds_differ_by_seed_unless_pinned():
    assert (MultiHop().bind(0).table != MultiHop().bind(1).table).any()
    pinned = MultiHop(world_seed=7)
    assert (pinned.bind(0).table == pinned.bind(1).table).all()


def test_too_little_to_hold_out_is_refused():
    with pytest.raises(ValueError, match="18 two-hop combinations"):
        MultiHop(entities=2, relations=3, hops=2, held_out=0.1, hold_out="questions")
    with pytest.raises(ValueError, match="fewer than 20 to train on"):
        MultiHop(entities=16, relations=4, hops=2, held_out=0.999, hold_out="questions")


def test_thinking_aloud_writes_the_bridges_before_the_answer():
    task = MultiHop(entities=7, relations=5, hops=3, cot=True).bind(1)
    batch = task.sample(generator(1, Stream.TRAIN), 60)
    assert batch.tokens.shape[1] == task.context_length
    for i, row in enumerate(batch.tokens):
        words = task.vocabulary.decode(row).split()
        hops = batch.difficulty[i]
        way = [f"e{batch.latents[f'hop.{k}'][i]}" for k in range(1, hops + 1)]
        assert words[hops + 2 :] == way
        assert (
            batch.loss_mask[i].sum() == hops and batch.loss_mask[i, hops + 2 : 2 * hops + 2].all()
        )
    plain = MultiHop(entities=7, relations=5, hops=3).bind(1).sample(generator(1, Stream.TRAIN), 60)
    assert (plain.latents["hop.3"] == batch.latents["hop.3"]).all()
    three = batch.rows(batch.difficulty == 3)
    generated = three.tokens[:, 5:8].copy()
    generated[:, 0] = 1  # only the last word is judged
    assert task.is_correct(three, generated).all()
    generated[:, 2] = 1
    assert not task.is_correct(three, generated).any()


def test_hop_weights():
    task = MultiHop(hops=3, hop_weights=(3, 1, 0)).bind(0)
    counts = np.bincount(task.sample(generator(0, Stream.TRAIN), 8000).difficulty, minlength=4)
    assert counts[3] == 0 and abs(counts[1] - 6000) < 5 * (8000 * 0.25 * 0.75) ** 0.5
    assert set(task.sample(generator(0, Stream.EVALUATION), 99, split="test").difficulty) == {2, 3}
    with pytest.raises(ValueError, match="needs one number for each of"):
        MultiHop(hops=3, hop_weights=(1, 2))


def test_more_questions_than_can_be_numbered_are_refused() -> None:
    assert MultiHop(hops=14).combinations(14) == 32 * 16**14 < 2**63
    for change in ({"hops": 15}, {"relations": 10**10}, {"relations": 1, "entities": 2**63}):
        with pytest.raises(
            ValueError, match=r"than the 2\^63 that can be numbered; at most \d+ hop"
        ):
            MultiHop(**change)
