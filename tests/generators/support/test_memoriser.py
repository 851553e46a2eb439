"""Floors of a memoriser, against lists of what training has told it."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.comparison import Comparison
from generators.composition import Composition
from generators.layered import Layered
from generators.multihop import MultiHop
from generators.streams import Stream, generator
from generators.support.memoriser import commonest_guess, exclusion_guess

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=30)


def commonest_by_hand(train, asked, answers):
    """The mean over questions of the chance that a random one of the commonest answers is right."""
    found = []
    for key, answer in asked:
        seen = Counter(a for k, a in train if k == key)
        best = [a for a in seen if seen[a] == max(seen.values())] or list(range(answers))
        found.append(Fraction(answer in best, len(best)))
    return float(sum(found) / len(found))


@given(pairs, pairs)
def test_commonest_guess_by_hand(train, asked):
    (key, answer), (key2, answer2) = (np.array(rows).T for rows in (train, asked))
    assert commonest_guess(key, answer, key2, answer2, 4) == pytest.approx(
        commonest_by_hand(train, asked, 4)
    )


def all_questions(task, hops):
    """(relations, entity, answer, split) of every question, one at a time."""
    for number in range(task.combinations(hops)):
        batch = task.documents(np.array([hops]), np.array([number]))
        relations = tuple(int(batch.latents[f"relation.{k + 1}"][0]) for k in range(hops))
        split = task.splits[int(task.split_of(hops, np.array([number]))[0])]
        entity = int(batch.latents["hop.0"][0])
        yield relations, entity, int(batch.latents[f"hop.{hops}"][0]), split


@pytest.mark.parametrize("world", ["function", "permutation"])
@pytest.mark.parametrize("hold_out", ["questions", "strings"])
@pytest.mark.parametrize("hops", [2, 3])
def test_floors_of_multihop_by_listing(world, hold_out, hops):
    task = MultiHop(
        entities=6, relations=4, hops=3, world=world, hold_out=hold_out, held_out=0.3
    ).bind(2)
    every = list(all_questions(task, hops))
    train = [(r, a) for r, _, a, split in every if split == "train"]
    asked = [(r, a) for r, _, a, split in every if split == "test"]
    floors = task.floors(hops)
    assert floors["chance"] == 1 / 6
    assert floors["relations"] == pytest.approx(commonest_by_hand(train, asked, 6))
    last = [[(r[-1], a) for r, a in rows] for rows in (train, asked)]
    assert floors["last_relation"] == pytest.approx(commonest_by_hand(*last, 6))
    if world == "permutation":
        by_exclusion = [1 / (6 - len({a for r, a in train if r == asks})) for asks, _ in asked]
        assert floors["exclusion"] == pytest.approx(np.mean(by_exclusion))
    else:
        assert "exclusion" not in floors


@pytest.mark.parametrize("seed", range(3))
def test_strings_leave_nothing_to_exclude(seed):
    task = MultiHop(
        entities=16, relations=24, hops=3, world="permutation", hold_out="strings"
    ).bind(seed)
    for hops in (2, 3):
        assert task.floors(hops) == pytest.approx(dict.fromkeys(task.floors(hops), 1 / 16))
        split = task.split_of(hops, np.arange(task.combinations(hops))).reshape(-1, 16)
        assert (split == split[:, :1]).all()  # a string with all its entities
        shares = np.bincount(split[:, 0], minlength=3) / len(split)
        assert shares == pytest.approx([0.9, 0.05, 0.05], abs=0.002)
    # the same world with single questions held out: half of them are guessed
    old = task.with_fields(hold_out="questions").bind(seed)
    assert 0.45 < old.floors(2)["exclusion"] < 0.55
    assert old.floors(2)["relations"] == 0  # the commonest answer of a string is taken


def test_few_strings_leave_no_split_empty():
    task = MultiHop(entities=8, relations=3, hops=2, hold_out="strings", held_out=0.02).bind(0)
    assert [task.count(split, 2) for split in task.splits] == [56, 8, 8]
    batch = task.sample(generator(0, Stream.EVALUATION), 8, split="test")
    assert len({tuple(row) for row in batch.tokens[:, 2:4].tolist()}) == 1
    with pytest.raises(ValueError, match="leaves none to train on"):
        MultiHop(entities=8, relations=1, hops=2, hold_out="strings")


def test_the_oracle_knows_more_than_training_tells():
    """The guess from the relations of random functions, as it is often printed, is out of reach."""
    for seed in range(3):
        task = MultiHop(entities=32, relations=16, hops=3, hold_out="questions").bind(seed)
        for hops, oracle, attainable in ((2, (0.15, 0.19), (0.06, 0.12)), (3, (0.19, 0.24), None)):
            assert oracle[0] < task.oracle_floors(hops)["relations"] < oracle[1]
            low, high = attainable or (0.11, 0.16)
            assert low < task.floors(hops)["relations"] < high


def listed_rows(task, split):
    """(relations, answer) of a split's questions, each once, read from what they say."""
    n = task.count(split, max(task.difficulties_of(split)))
    hops = max(task.difficulties_of(split))
    batch = task.documents(np.full(n, hops), task.listed(split, hops))
    relations = zip(*(batch.latents[f"relation.{k + 1}"] for k in range(hops)), strict=True)
    return [
        (tuple(map(int, r)), int(a))
        for r, a in zip(relations, batch.latents[f"hop.{hops}"], strict=True)
    ]


@pytest.mark.parametrize(
    "task",
    [
        Composition(entities=40, relations=6, out_degree=4, phi=2, ood=0.2, held_out=0.1),
        Layered(people=60, layers=4, relations=3, hops=3, held_out=40, budget=0.3),
    ],
    ids=lambda task: task.kind,
)
def test_floors_of_other_compositions_by_listing(task):
    task = task.bind(1)
    train, asked = listed_rows(task, "train"), listed_rows(task, "test")
    if task.kind == "layered":  # numbered within the last layer
        first = min(a for _, a in train)
        last_layer = task.width * task.hops
        assert first >= last_layer
        train, asked = ([(r, a - last_layer) for r, a in rows] for rows in (train, asked))
    answers = task.width if task.kind == "layered" else task.entities
    floors = task.floors(max(task.difficulties_of("test")))
    assert floors["relations"] == pytest.approx(commonest_by_hand(train, asked, answers))
    last = [[(r[-1], a) for r, a in rows] for rows in (train, asked)]
    assert floors["last_relation"] == pytest.approx(commonest_by_hand(*last, answers))


def test_the_record_of_entities_in_training_tells_more_than_one_value():
    """Comparisons can be guessed without any fact, from who came out greater before."""
    task = Comparison(entities=60, attributes=3, values=20, phi=10, ood=0.1, held_out=60).bind(0)
    train = task.documents(*task._compared("train", np.arange(len(task.listed("train")))))
    points: dict[tuple[int, int], list[int]] = {}
    for a, e1, e2, v1, v2 in zip(
        *(train.latents[k] for k in ("attribute", "entity", "other", "value", "other_value")),
        strict=True,
    ):
        sign = int(np.sign(int(v1) - int(v2)))
        points.setdefault((a, e1), []).append(sign)
        points.setdefault((a, e2), []).append(-sign)
    asked = task.documents(*task._compared("test", np.arange(len(task.listed("test")))))
    right = []
    signs = np.sign(asked.latents["value"] - asked.latents["other_value"])
    most = max((signs != 0).mean() / 2, (signs == 0).mean())
    for a, e1, e2, sign in zip(
        *(asked.latents[k] for k in ("attribute", "entity", "other")), signs, strict=True
    ):
        one, other = (np.mean(points.get((a, e), [0])) for e in (e1, e2))
        right.append(most if one == other else np.sign(one - other) == sign)
    floors = task.floors(2)
    assert floors["record"] == pytest.approx(np.mean(right))
    assert floors["record"] > floors["one_entity"]
    # nobody of the other test split was ever compared
    ood = task.floors(2, "ood")
    assert ood["record"] == pytest.approx(ood["majority"], abs=0.05)


def test_exclusion_of_a_key_that_training_lacks_is_chance():
    assert exclusion_guess(np.array([0, 0]), np.array([1, 2]), np.array([1, 0]), 4) == 0.375


def test_numbers_of_more_than_32_bits_are_guessed_alike() -> None:
    """Codes of key and answer are kept in 32 bits where they fit."""
    rng = generator(0, Stream.PROBE)
    key, answer = rng.integers(0, 9, 300), rng.integers(0, 50, 300).astype(np.int32)
    for guess in (
        lambda k: commonest_guess(k[:200], answer[:200], k[200:], answer[200:], 50),
        lambda k: exclusion_guess(k[:200], answer[:200], k[200:], 50),
    ):
        assert guess(key) == guess(key * 2**40) == guess(key.astype(np.int32))
