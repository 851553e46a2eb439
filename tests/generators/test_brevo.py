"""Brevo against brute force over all orders of small graphs."""

import itertools
from collections import Counter
from functools import cache
from math import comb, factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import in_splits
from pydantic import ValidationError

from generators.brevo import Brevo
from generators.hashing import mix
from generators.streams import Stream, generator


def words_of(texts):
    words = [[]]
    for text in texts:
        words[-1].append(text)
        if not text.endswith("-"):
            words.append([])
    return [" ".join(w) for w in words[:-1]]


def parsed(task, row):
    """(edges, query, answer) of a document, words as texts."""
    words = words_of(task.vocabulary.decode(row).split())
    at = words.index("<query>")
    edges = list(zip(words[1:at:2], words[2:at:2], strict=True))
    assert words[at + 2] == "<ans>"
    return edges, words[at + 1], words[at + 3 :]


def needed(edges, query):
    found = {query}
    while more := {a for a, b in edges if b in found} - found:
        found |= more
    return found


def orders(edges, nodes):
    """All topological orders, by trying every permutation."""
    inside = [(a, b) for a, b in edges if a in nodes and b in nodes]
    return [
        order
        for order in itertools.permutations(sorted(nodes))
        if all(order.index(a) < order.index(b) for a, b in inside)
    ]


def written(task, batch):
    """The right answers as a model would generate them."""
    start, stop = batch.spans["answer"].T
    found = np.zeros((len(batch), int((stop - start).max())), np.int32)
    for i in range(len(batch)):
        found[i, : stop[i] - start[i]] = batch.tokens[i, start[i] : stop[i]]
    return found


tasks = st.builds(
    Brevo,
    nodes=st.integers(8, 18),
    symbols=st.integers(5, 8),
    shortest=st.just(2),
    longest=st.integers(2, 3),
    query=st.sampled_from(["last", "last_quarter"]),
    end=st.sampled_from(["eos", "ans"]),
    order=st.sampled_from(["query", "leaves"]),
    score_marker=st.booleans(),
    cot=st.booleans(),
)


@given(tasks, st.integers(0, 20), st.sampled_from(["train", "validation", "test"]))
def test_answers_are_ordered_and_complete(task, seed, split):
    task = task.bind(seed)
    batch = task.sample(generator(seed, Stream.TRAIN), 12, split=split)
    for i, row in enumerate(batch.tokens):
        edges, query, answer = parsed(task, row)
        assert len(set(edges)) == len(edges)
        assert max(Counter(a for a, _ in edges).values()) <= 4
        assert max(Counter(b for _, b in edges).values()) <= 4
        assert answer[-1] == {"eos": "<eos>", "ans": "<ans>"}[task.end]
        order = answer[:-1]
        if task.cot:
            at = order.index("<order>")
            assert order[0] == query and set(order[:at]) == set(order[at + 1 :])
            order = order[at + 1 :]
        assert set(order) == needed(edges, query) and len(order) == len(set(order))
        assert order[-1] == query and len(order) == batch.latents["reached"][i] >= 2
        for a, b in edges:
            assert b not in order or order.index(a) < order.index(b)
        scored = words_of(task.vocabulary.decode(row[batch.loss_mask[i]]).split())
        assert scored == [*task.score_marker * ["<ans>"], *answer]
        assert (row > 0).sum() <= task.context_length
    assert task.is_correct(batch, written(task, batch)).all()
    assert not task.is_correct(batch, written(task, batch) * 0).any()


@pytest.mark.parametrize("words", [{}, {"symbols": 4, "longest": 3, "shortest": 2}])
def test_exactly_the_topological_orders_are_accepted(words):
    task = Brevo(nodes=8, **words).bind(0)
    batch = task.sample(generator(0, Stream.TRAIN), 30)
    kinds = Counter()
    for i, row in enumerate(batch.tokens):
        start = batch.spans["answer"][i, 0]
        edges, query, _ = parsed(task, row)
        right = needed(edges, query)
        if not 3 <= len(right) <= 5:
            continue
        accepted = set(orders(edges, right))
        others = sorted({n for edge in edges for n in edge} - right)[:1]
        end = [task.vocabulary.id("<eos>")]
        for size in range(len(right) + 1):
            for order in itertools.permutations([*sorted(right), *others], size):
                answer = [*task.vocabulary.ids(" ".join(order).split()), *end]
                found = task.accepts(row[:start], np.array(answer, np.int32))
                assert found == (order in accepted)
                assert not task.accepts(row[:start], np.array(answer[:-1], np.int32))
                kinds[found] += 1
    assert kinds[True] > 10 and kinds[False] > 1000


def test_no_held_out_graph_is_trained_on():
    task = Brevo(nodes=8, held_out=0.4).bind(0)
    found = in_splits(task, lambda row: frozenset(parsed(task, row)[0]), 1500, difficulty=8)
    assert min(map(len, found)) > 1000
    for split, graphs in zip(task.splits, found, strict=True):
        # the split is a function of the named edges alone, in any order
        numbers = (np.array([8 * (int(a) - 1) + int(b) - 1 for a, b in graph]) for graph in graphs)
        fingerprints = np.array([mix(edges, 1).sum() for edges in numbers])
        for other in task.splits:
            assert (task.in_split(other, fingerprints) == (other == split)).all()


def number_of_orders(edges, nodes):
    """Topological orders, counted by what has been written so far."""

    @cache
    def ways(there):
        ready = [v for v in nodes - there if all(a in there for a, b in edges if b == v)]
        return sum(ways(there | {v}) for v in ready) if ready else 1

    return ways(frozenset())


def test_blind_floor_by_counting_orders():
    task = Brevo(nodes=8, query="last").bind(0)
    batch = task.sample(generator(3, Stream.EVALUATION), 600, difficulty=8)
    right = Counter()  # names are exchangeable: any guess of that size is as good
    for row in batch.tokens:
        edges, query, _ = parsed(task, row)
        nodes = frozenset(needed(edges, query))
        right[len(nodes)] += number_of_orders(edges, nodes) / factorial(len(nodes) - 1)
    best = max(count / 600 / comb(7, s - 1) for s, count in right.items())
    assert task.floors(8)["blind"] == pytest.approx(best, abs=0.003)
    assert 0.002 < best < 0.01
    assert Brevo(nodes=32).bind(0).floors(32)["blind"] < 0.01


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nodes": 60, "symbols": 7}, "symbols 7 make 7 words .* at least nodes 60"),
        ({"longest": 6, "nodes": 110}, "at most 1000000"),
        ({"shortest": 3}, "longest 1 is less than shortest 3"),
        ({"nodes": 300}, "2685 tokens, more than the context of 2048; lower nodes"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Brevo(**fields)


def test_difficulties():
    assert Brevo(nodes=32).difficulties == (8, 16, 32)
    assert Brevo(nodes=20).difficulties == (10, 20)
    with pytest.raises(ValueError, match="no difficulty 9"):
        Brevo().sample(generator(0, Stream.TRAIN), 1, difficulty=9)
