"""Multi-query recall against its definition, its laws and the best guess without recall."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import chi_square, in_splits
from pydantic import ValidationError
from scipy.stats import chi2

from generators.mqar import MQAR
from generators.streams import Stream, generator

tasks = st.builds(
    MQAR,
    pairs=st.integers(3, 6),
    fewest=st.sampled_from([None, 2, 3]),
    length=st.sampled_from([24, 30, 40]),
    keys=st.integers(13, 20),
    values=st.integers(13, 20),
    power=st.sampled_from([0.01, 1.0]),
    filler=st.booleans(),
)


def parsed(task, row, pairs):
    """Pairs as told, then (column, key, value) of every query."""
    words = task.vocabulary.decode(row).split()
    told = list(zip(words[1 : 1 + 2 * pairs : 2], words[2 : 2 + 2 * pairs : 2], strict=True))
    keys = {key for key, _ in told}
    after = range(1 + 2 * pairs, len(words), 2)
    return told, [(i, words[i], words[i + 1]) for i in after if words[i] in keys], words


@given(tasks, st.integers(0, 20), st.sampled_from(["train", "validation", "test"]))
def test_every_key_is_asked_for_once_and_answered_by_its_value(task, seed, split):
    task = task.bind(seed)
    batch = task.sample(generator(seed, Stream.TRAIN), 32, split=split)
    for i, row in enumerate(batch.tokens):
        pairs = int(batch.difficulty[i])
        assert task.least <= pairs <= task.pairs and len(row) == 1 + task.length
        told, asked, words = parsed(task, row, pairs)
        assert all(k[0] == "k" and v[0] == "v" for k, v in told)
        assert len(dict(told)) == len({v for _, v in told}) == pairs
        assert sorted((k, v) for _, k, v in asked) == sorted(told)
        assert batch.loss_mask[i].nonzero()[0].tolist() == [column + 1 for column, *_ in asked]
        start, stop = batch.spans["answer"][i]
        assert (stop - start, start - 1) == (1, batch.spans["query"][i, 0])
        assert (start - 1, words[start - 1], words[start]) in asked
        a, b = batch.spans["pair"][i]
        assert words[a:b] == words[start - 1 : start + 1]
        assert words[start - 1] == f"k{batch.latents['key'][i]}"
        assert words[start] == f"v{batch.latents['value'][i]}"
        used = {column + j for column, *_ in asked for j in (0, 1)}
        rest = [w for j, w in enumerate(words) if j > 2 * pairs and j not in used]
        assert not {k for k, _ in told} & set(rest)
        assert task.filler or set(rest) <= {"_"}


@pytest.mark.parametrize("power", [0.01, 1.0, 2.0])
def test_places_follow_the_law_and_keys_share_them_at_random(power):
    """All orders of two keys in four places, by the law of drawing one place after another."""
    task = MQAR(pairs=2, fewest=2, length=12, keys=40, values=40, power=power, filler=False)
    batch = task.bind(0).sample(generator(0, Stream.TRAIN), 40_000)
    found = Counter()
    for row in batch.tokens:
        told, asked, _ = parsed(task, row, 2)
        place = {key: (column - 5) // 2 for column, key, _ in asked}
        found[tuple(place[key] for key, _ in told)] += 1
    weight = np.arange(1, 5) ** (power - 1)
    drawn = {
        (a, b): weight[a] / weight.sum() * weight[b] / (weight.sum() - weight[a])
        for a, b in permutations(range(4), 2)
    }
    law = {(a, b): (drawn[a, b] + drawn[b, a]) / 2 for a, b in drawn}
    counts = [found[order] for order in law]
    expected = np.array([40_000 * p for p in law.values()])
    assert sum(law.values()) == pytest.approx(1) and sum(counts) == 40_000
    assert chi_square(counts, expected) < chi2.isf(1e-4, len(law) - 1)


def test_fillers_are_uniform_over_what_they_may_be():
    task = MQAR(pairs=3, fewest=2, length=40, keys=30, values=20).bind(0)
    batch = task.sample(generator(0, Stream.TRAIN), 20_000)
    found = Counter()
    for row, pairs in zip(batch.tokens, batch.difficulty, strict=True):
        _, asked, words = parsed(task, row, int(pairs))
        used = {column + j for column, *_ in asked for j in (0, 1)}
        found.update(w for j, w in enumerate(words) if j > 2 * pairs and j not in used)
    for letter, n in (("k", 30), ("v", 20)):
        counts = [found[f"{letter}{i}"] for i in range(n)]
        assert chi_square(counts, np.mean(counts)) < chi2.isf(1e-4, n - 1)
    # keys of the document are left out, values are not: of two and of three pairs in equal parts
    share = sum(found[f"k{i}"] for i in range(30)) / found.total()
    of = {2: 40 - 8, 3: 40 - 12}
    wanted = sum(of[p] * (30 - p) / (50 - p) for p in of) / sum(of.values())
    assert share == pytest.approx(wanted, abs=0.003)


@pytest.mark.parametrize("pairs", [2, 4, 8])
def test_floors_are_what_guesses_reach(pairs):
    """Guesses know the values told; also the first one told that has not been answered."""
    task = MQAR(pairs=8, fewest=2, length=48).bind(0)
    batch = task.sample(generator(0, Stream.TRAIN), 20_000, difficulty=pairs)
    left, first = [], []
    for i, row in enumerate(batch.tokens):
        told, asked, words = parsed(task, row, pairs)
        start = batch.spans["answer"][i, 0]
        answered = {v for column, _, v in asked if column + 1 < start}
        rest = [v for _, v in told if v not in answered]
        left.append(1 / len(rest))
        first.append(rest[0] == words[start])
    floors = task.floors(pairs)
    assert floors["exclusion"] == pytest.approx(np.mean(left), abs=0.01)
    assert floors["exclusion"] == pytest.approx(np.mean(first), abs=0.015)
    assert floors["context"] == 1 / pairs and floors["chance"] == 1 / 128
    every = [task.floors(p)["exclusion"] for p in task.difficulties]
    assert task.difficulties == (2, 4, 8) and task.floors()["exclusion"] == np.mean(every)


def test_no_held_out_set_of_pairs_is_trained_on():
    task = MQAR(pairs=3, fewest=3, length=16, keys=5, values=16, held_out=0.4).bind(0)
    found = in_splits(task, lambda row: frozenset(parsed(task, row, 3)[0]), 3000, difficulty=3)
    assert min(map(len, found)) > 2000


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"pairs": 2}, "fewest 4 is more than pairs 2"),
        ({"length": 62}, "at least 64, four tokens for each of 16 pairs"),
        ({"length": 65}, "length 65 needs to be even"),
        ({"keys": 15}, "pairs 16 have different keys and values, of which there are 15 and 128"),
        ({"values": 9}, "of which there are 128 and 9"),
        (
            {"pairs": 2, "fewest": 1, "keys": 9, "values": 9},
            "make fewer than 10000 sets of 1 pairs",
        ),
        ({"length": 1024}, "has 1025 tokens, more than the context of 1024"),
        ({"power": 0}, "greater than 0"),
    ],
)
def test_impossible_settings_are_refused(fields, says):
    with pytest.raises(ValidationError, match=says):
        MQAR(**fields)
