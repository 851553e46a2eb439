"""Random graphs and random orders of them, against enumeration."""

import itertools
from collections import Counter

import numpy as np
import pytest

from generators.streams import Stream, generator
from generators.support.dags import Dags, draw_dags, heights, random_orders


def test_random_orders_follow_kahn():
    """A graph with 10 orders of unequal probability: a chain 0 - 1 - 2 beside 3 and 4, below 5."""
    parents = np.full((1, 6, 4), 6)
    children = np.full((1, 6, 4), 6)
    for parent, child in [(0, 1), (1, 2), (2, 5), (3, 5), (4, 3)]:
        parents[0, child, (parents[0, child] < 6).sum()] = parent
        children[0, parent, 0] = child
    n = 30_000
    dags = Dags(np.repeat(parents, n, 0), np.repeat(children, n, 0))
    found = random_orders(generator(0, Stream.TRAIN), dags, np.ones((n, 6), bool))
    law = Counter()

    def walk(order, probability):
        ready = [
            v
            for v in range(6)
            if v not in order and all(int(p) in order for p in parents[0, v] if p < 6)
        ]
        if not ready:
            law[tuple(order)] += probability
        for v in ready:
            walk([*order, v], probability / len(ready))

    walk([], 1.0)
    seen = Counter(map(tuple, found.tolist()))
    assert seen.keys() == law.keys() and len(law) == 10 and len(set(law.values())) > 1
    chi = sum((seen[o] - n * p) ** 2 / (n * p) for o, p in law.items())
    assert chi < 27.9  # 9 degrees, p = 0.001


def test_orders_from_the_query_are_drawn_from_their_end():
    """0 and 1 below 2, 3 beside it, all below 4; 5 hangs off 0 and is not asked about.

    The node before is uniform among those whose children have all been placed, as the published
    code draws it. From the leaves on the law is another.
    """
    parents, children = np.full((1, 6, 4), 6), np.full((1, 6, 4), 6)
    edges = [(0, 2), (1, 2), (2, 4), (3, 4), (0, 5)]
    for parent, child in edges:
        parents[0, child, (parents[0, child] < 6).sum()] = parent
        children[0, parent, (children[0, parent] < 6).sum()] = child
    n = 30_000
    dags = Dags(np.repeat(parents, n, 0), np.repeat(children, n, 0))
    reached = np.repeat(np.array([[1, 1, 1, 1, 1, 0]], bool), n, 0)
    law = Counter()

    def walk(order, probability):
        left = [v for v in range(5) if v not in order]
        ready = [v for v in left if not any((v, c) in edges for c in left)]
        if not ready:
            law[tuple(order)] += probability
        for v in ready:
            walk([v, *order], probability / len(ready))

    walk([], 1.0)

    def chi(backwards):
        found = random_orders(generator(0, Stream.TRAIN), dags, reached, backwards=backwards)
        seen = Counter(map(tuple, found.tolist()))
        assert seen.keys() == law.keys() and len(set(law.values())) > 1
        return sum((seen[o] - n * p) ** 2 / (n * p) for o, p in law.items())

    assert chi(True) < 24.3  # 7 degrees, p = 0.001
    assert chi(False) > 1000


def test_orders_of_different_lengths_end_with_their_last_node():
    dags = draw_dags(generator(0, Stream.TRAIN), np.array([9, 7, 4]))
    reached = np.array([[1] * 9, [1] * 7 + [0] * 2, [1] * 4 + [0] * 5], bool)
    found = random_orders(generator(1, Stream.TRAIN), dags, reached, backwards=True)
    for order, m in zip(found.tolist(), (9, 7, 4), strict=True):
        assert sorted(order[:m]) == list(range(m)) and order[m:] == [-1] * (9 - m)


def test_graphs_of_four_nodes_by_enumeration():
    """n = 4: one leaf; node 1 has parent 0, node 2 one or two of {0, 1}, node 3 up to three."""
    n = 30_000
    dags = draw_dags(generator(0, Stream.TRAIN), np.full(n, 4))
    seen = Counter(
        (frozenset(two[two < 4].tolist()), frozenset(three[three < 4].tolist()))
        for two, three in zip(dags.parents[:, 2], dags.parents[:, 3], strict=True)
    )
    assert (dags.parents[:, 1] == [0, 4, 4, 4]).all()
    law = {}
    for k, m in itertools.product((1, 2), (1, 2, 3)):
        twos = list(itertools.combinations(range(2), k))
        threes = list(itertools.combinations(range(3), m))
        for two, three in itertools.product(twos, threes):
            law[frozenset(two), frozenset(three)] = 1 / 6 / len(twos) / len(threes)
    assert seen.keys() == law.keys()
    chi = sum((seen[g] - n * p) ** 2 / (n * p) for g, p in law.items())
    assert chi < 45.4  # 20 degrees, p = 0.001


def test_shape_of_large_graphs():
    nodes = np.repeat([30, 10], 500)
    dags = draw_dags(generator(0, Stream.TRAIN), nodes)
    edges = (dags.parents < 30).sum((1, 2))
    assert edges[:500].mean() == pytest.approx(63, rel=0.03)  # by another simulation
    assert edges[500:].mean() == pytest.approx(18, rel=0.03)
    assert (dags.parents[500:, 10:] == 30).all()
    for v in range(30):
        degree = (dags.parents == v).sum((1, 2))
        assert degree.max() <= 4
        assert (np.sort(dags.children[:, v], 1) < 30).sum(1).tolist() == degree.tolist()
    assert heights(dags)[:500, 29].mean() == pytest.approx(7.3, rel=0.05)
