"""Random directed acyclic graphs, what a node depends on, and random orders of it, many at a time.

Legend: B graphs, n nodes of one, W nodes of the largest. Where a node is missing its number is W,
a column that all arrays have for nothing else.
"""

from dataclasses import dataclass

import numpy as np

#: most parents and most children of a node
DEGREE = 4
#: more parents than any node can have
NEVER = 10_000


@dataclass(frozen=True)
class Dags:
    """int64[B, W, 4]: parents and children of every node, W where there are fewer than four."""

    parents: np.ndarray
    children: np.ndarray

    @property
    def width(self) -> int:
        return self.parents.shape[1]


def draw_dags(rng: np.random.Generator, nodes: np.ndarray) -> Dags:
    """Graphs with int[B] nodes (in falling order), after the published code of 2512.17351.

    The first 1 … ⌊(n-1)/4⌋ + 1 nodes (uniform) are leaves; every later one has 1 … 4 parents
    (uniform, as far as there are so many) among the earlier nodes with fewer than 4 children.
    """
    n, width = len(nodes), int(nodes[0])
    active = (nodes[:, None] > np.arange(width)).sum(0)
    leaves = 1 + (rng.random(n) * ((nodes - 1) // 4 + 1)).astype(np.int64)
    parents = np.full((n, width, DEGREE), width)
    children = np.full((n, width + 1, DEGREE), width)
    degree = np.zeros((n, width + 1), np.int64)
    for node in range(1, width):
        m = active[node]
        rows = np.arange(m)
        full = degree[:m, :node] >= DEGREE
        keys = rng.random((m, node), np.float32)
        keys[full] = 2
        free = np.minimum(node - full.sum(1), DEGREE)
        wanted = 1 + (rng.random(m) * free).astype(np.int64)
        wanted[node < leaves[:m]] = 0
        for place in range(min(DEGREE, node)):
            taken = np.flatnonzero(place < wanted)
            parent = keys.argmin(1)
            keys[rows, parent] = 2
            parent = parent[taken]
            parents[taken, node, place] = parent
            children[taken, parent, degree[taken, parent]] = node
            degree[taken, parent] += 1
    return Dags(parents, children[:, :width])


def distances(dags: Dags, query: np.ndarray) -> np.ndarray:
    """int64[B, W], edges on the shortest way down from int[B] query, W where there is none."""
    n, width = len(query), dags.width
    rows = np.arange(n)
    found = np.full((n, width + 1), width)
    found[rows, query] = 0
    for node in range(int(query.max()), 0, -1):
        below = dags.parents[:, node]
        step = np.minimum(found[:, node] + 1, width)[:, None]
        found[rows[:, None], below] = np.minimum(found[rows[:, None], below], step)
        found[:, width] = width
    return found[:, :width]


def heights(dags: Dags) -> np.ndarray:
    """int64[B, W], edges on the longest way down from each node to a leaf."""
    n, width = len(dags.parents), dags.width
    found = np.zeros((n, width + 1), np.int64)
    found[:, width] = -1
    rows = np.arange(n)[:, None]
    for node in range(width):
        found[:, node] = found[rows, dags.parents[:, node]].max(1) + 1
    return found[:, :width]


def random_orders(
    rng: np.random.Generator, dags: Dags, reached: np.ndarray, *, backwards: bool = False
) -> np.ndarray:
    """int64[B, most reached], the nodes of bool[B, W] after all their parents, -1 beyond.

    The next node is uniform among those whose parents are all there (Kahn's algorithm). With
    `backwards` the order is drawn from its end: the node before is uniform among those whose
    children are all there. The two laws differ. Parents of a reached node have to be reached.
    """
    n, width = reached.shape
    counts = reached.sum(1)
    order = np.argsort(-counts, kind="stable")
    active = (counts[:, None] > np.arange(counts.max())).sum(0)
    waiting = np.full((n, width + 1), NEVER)
    before, after = dags.parents, dags.children
    if backwards:
        before, after = after, before
    there = np.pad(reached, ((0, 0), (0, 1)))  # a node that is missing is not reached
    missing = there[np.arange(n)[:, None, None], before].sum(2)
    waiting[:, :width] = np.where(reached, missing, NEVER)[order]
    after = after[order]
    found = np.full((n, len(active)), -1)
    rows = np.arange(n)
    for place, m in enumerate(active):
        keys = (1 + rng.random((m, width), np.float32)) * (waiting[:m, :width] == 0)
        node = keys.argmax(1)
        found[:m, place] = node
        waiting[rows[:m], node] = NEVER
        waiting[rows[:m, None], after[rows[:m], node]] -= 1
    back = np.empty_like(found)
    back[order] = found
    if not backwards:
        return back
    place = counts[:, None] - 1 - np.arange(back.shape[1])
    return np.where(place < 0, -1, np.take_along_axis(back, np.maximum(place, 0), axis=1))
