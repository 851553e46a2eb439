"""Brevo: everything a node depends on, in an order that works (Physics of LMs 4.1).

Legend: B documents, N most nodes, n nodes of one document, W = the most in a batch.
"""

from functools import cached_property
from math import comb
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.hashing import mix
from generators.online import OnlineTask
from generators.support.dags import DEGREE, Dags, distances, draw_dags, heights, random_orders
from generators.support.sizes import SizeLaw, draw_sizes
from generators.support.words import Words, Writing
from generators.task import Batch
from generators.vocabulary import BOS, Vocabulary

#: nodes of the smallest graph that is held out: smaller ones are too few
FEWEST_NODES = 8
#: token ids of a word
Word = tuple[int, ...]
#: graphs behind the floor
FLOOR_GRAPHS = 4096


class Brevo(OnlineTask):
    """A directed acyclic graph and the nodes that a query node depends on, leaves first.

    The text is all edges (parent, child) in random order, `<query>`, a node, `<ans>`, the nodes
    that can be reached by going to parents again and again, in a random topological order that ends
    with the query, `<eos>`. It is drawn from its end, each node uniformly among those on which no
    node still to be drawn depends. Any topological order of exactly these nodes is right. In
    training n follows the size law on 3 … N; a difficulty is a number of nodes. Of the graphs of
    these sizes a share is held out, as a set of named edges.

    >>> task = Brevo(nodes=8).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 3, 2]), 1)
    >>> print(task.vocabulary.decode(batch.tokens[0])); print(batch.loss_mask[0].sum())
    <bos> 7 5 6 2 1 8 1 3 7 3 4 3 3 6 1 7 7 8 4 6 1 4 8 3 7 6 <query> 2 <ans> 1 7 4 8 3 6 2 <eos>
    8

    Scored is what follows `<ans>`.
    Brevo1 has N = 70, 90 or 110 and words of one token, `symbols: null` (N names); Brevo2
    N = 30, 40 or 50 and words of 2 to 4 tokens over 4 symbols. Its published code always asks
    for the last node and ends with `<ans>` again; the paper's text asks in the last quarter.
    With `cot` the nodes in the order of their distance from the query and `<order>` come first.
    """

    version: ClassVar[int] = 1
    former: ClassVar[dict[str, str]] = {"order": "leaves"}
    difficulty_name: ClassVar[str] = "nodes"

    kind: Literal["brevo"] = "brevo"
    nodes: int = Field(32, ge=FEWEST_NODES, description="N, most nodes of a graph")
    symbols: int | None = Field(
        None, ge=2, le=1000, description="tokens that words are made of; None: N"
    )
    shortest: int = Field(1, ge=1, description="tokens of the shortest word")
    longest: int = Field(1, ge=1, le=6, description="tokens of the longest word")
    sizes: SizeLaw = Field("harmonic", description="law of the number of nodes in training")
    query: Literal["last_quarter", "last"] = Field(
        "last_quarter",
        description="drawn from the last quarter of the nodes in topological order, or the last",
    )
    order: Literal["query", "leaves"] = Field(
        "query",
        description="the answer's law: drawn from the query, at its end, as the published code "
        "does, or from the leaves on",
    )
    end: Literal["eos", "ans"] = Field("eos", description="token after the answer")
    score_marker: bool = Field(False, description="score <ans> too, as the published code does")
    cot: bool = Field(False, description="write the nodes breadth first before the order")
    context: int = Field(2048, ge=8, description="most tokens that a document may have")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.longest < self.shortest:
            raise ValueError(f"longest {self.longest} is less than shortest {self.shortest}")
        words = len(self.words)
        if not self.nodes <= words <= 1_000_000:
            raise ValueError(
                f"symbols {self.words.symbols} make {words} words of {self.shortest} to "
                f"{self.longest} tokens; needed are at least nodes {self.nodes}, at most 1000000: "
                "change symbols, shortest or longest"
            )
        self.check_context("lower nodes or longest")
        return self

    @cached_property
    def words(self) -> Words:
        """The words that name the nodes."""
        return Words(self.symbols or self.nodes, self.shortest, self.longest)

    @cached_property
    def writing(self) -> Writing:
        return Writing(self.words, [BOS, "<query>", "<ans>", "<order>", "<eos>"])

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return self.writing.vocabulary

    @property
    def context_length(self) -> int:
        edges = sum(min(DEGREE, node) for node in range(self.nodes))
        listed = self.nodes * (2 if self.cot else 1)
        return 4 + self.cot + self.longest * (2 * edges + 1 + listed)

    @property
    def difficulties(self) -> tuple[int, ...]:
        """A difficulty is a number of nodes: N, N/2 and N/4 as far as they are 8 or more."""
        parts = {self.nodes // 4, self.nodes // 2, self.nodes}
        return tuple(sorted(n for n in parts if n >= FEWEST_NODES))

    def sample(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        split: str = "train",
        difficulty: int | None = None,
        index: int | None = None,
    ) -> Batch:
        self.check_arguments(split, difficulty)
        if difficulty is not None:
            nodes = np.full(n, difficulty)
        elif split == "train":
            nodes = draw_sizes(rng, n, self.nodes, self.sizes)
        else:
            nodes = rng.choice(self.difficulties, n)
        by_size = np.argsort(-nodes, kind="stable")
        place = np.argsort(by_size)
        dags = draw_dags(rng, nodes[by_size])
        dags = Dags(dags.parents[place], dags.children[place])
        names = self.words.distinct(rng, nodes)

        def fingerprint(rows: np.ndarray) -> np.ndarray:
            edges = _named_edges(dags.parents[rows], names[rows])
            number = edges[..., 0] * len(self.words) + edges[..., 1]
            return np.where(edges[..., 0] < 0, np.uint64(0), mix(number, 1)).sum(axis=1)

        def redraw(rows: np.ndarray) -> None:
            keys = np.where(names[rows] < 0, 2.0, rng.random(names[rows].shape))
            names[rows] = np.take_along_axis(names[rows], np.argsort(keys, axis=1), axis=1)

        self.settle(split, np.flatnonzero(np.isin(nodes, self.difficulties)), fingerprint, redraw)
        return self._documents(rng, nodes, dags, names)

    def _documents(
        self, rng: np.random.Generator, nodes: np.ndarray, dags: Dags, names: np.ndarray
    ) -> Batch:
        n, rows = len(nodes), np.arange(len(nodes))
        query = self._query(rng, nodes)
        distance = distances(dags, query)
        reached = distance < dags.width
        order = random_orders(rng, dags, reached, backwards=self.order == "query")
        edges = _named_edges(dags.parents, names)
        keys = rng.random(edges.shape[:2])
        keys[edges[..., 0] < 0] = 2.0
        most = int((edges[..., 0] >= 0).sum(1).max())
        shuffled = np.argsort(keys, axis=1)[:, :most, None]
        edges = np.take_along_axis(edges, shuffled, axis=1).reshape(n, -1)
        answer = [_named(names, order), self._column(n, "<ans>" if self.end == "ans" else "<eos>")]
        if self.cot:
            nearest = np.argsort(distance + rng.random(distance.shape), axis=1)
            nearest = np.where(np.take_along_axis(reached, nearest, axis=1), nearest, -1)
            answer = [_named(names, nearest), self._column(n, "<order>"), *answer]
        asked = names[rows, query][:, None]
        prompt = [self._column(n, BOS), edges, self._column(n, "<query>"), asked]
        items = np.concatenate([*prompt, self._column(n, "<ans>"), *answer], axis=1)
        first = 4 + edges.shape[1]  # of the answer
        columns = np.arange(items.shape[1])
        scored = np.broadcast_to(columns >= first - self.score_marker, items.shape)
        layout = self.writing.lay_out(items, scored)
        latents = {
            "reached": reached.sum(1),
            "distance": np.where(reached, distance, 0).max(1),
            "height": heights(dags)[rows, query],
        }
        return Batch(
            layout.tokens,
            layout.loss_mask,
            {
                "query": layout.span(first - 2, first - 2),
                "answer": layout.span(first, items.shape[1] - 1),
            },
            {name: value.astype(np.int32) for name, value in latents.items()},
            nodes.astype(np.int32),
        )

    def _query(self, rng: np.random.Generator, nodes: np.ndarray) -> np.ndarray:
        if self.query == "last":
            return nodes - 1
        lowest = 3 * nodes // 4
        return lowest + (rng.random(len(nodes)) * (nodes - lowest)).astype(np.int64)

    def _column(self, n: int, marker: str) -> np.ndarray:
        return np.full((n, 1), self.writing.marker(marker))

    def is_correct(self, batch: Batch, generated: np.ndarray) -> np.ndarray:
        """bool[B]: whether the nodes are the right ones, each after all of its parents.

        With chain of thought only what comes after the first `<order>` counts.
        """
        spans = batch.spans["answer"]
        return np.array(
            [
                self.accepts(row[:start], answer[: stop - start])
                for row, answer, (start, stop) in zip(batch.tokens, generated, spans, strict=True)
            ]
        )

    def accepts(self, prompt: np.ndarray, answer: np.ndarray) -> bool:
        """Whether int[A] answers a document int[T] that ends with its `<ans>`."""
        _, *edges, _, query, _ = self.writing.read(prompt)
        parents: dict[Word, set[Word]] = {query: set()}
        for parent, child in zip(edges[::2], edges[1::2], strict=True):
            parents.setdefault(child, set()).add(parent)
            parents.setdefault(parent, set())
        words = self.writing.read(answer)
        if self.cot:
            order = (self.vocabulary.id("<order>"),)
            words = words[words.index(order) + 1 :] if order in words else []
        end = (self.vocabulary.id("<ans>" if self.end == "ans" else "<eos>"),)
        if not words or words[-1] != end:
            return False
        there: set[Word] = set()
        for word in words[:-1]:
            if word in there or word not in parents or not parents[word] <= there:
                return False
            there.add(word)
        return there == _needed(parents, query)

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """`blind`: the best answer that ignores the edges, of any number of nodes.

        Estimated from 4,096 graphs: the share of those with s reached nodes for which a random
        order of them works, over the number of sets of s nodes with the query, for the best s.
        """
        self.check_arguments(split, difficulty)
        sizes = self.difficulties if difficulty is None else (difficulty,)
        return {"blind": float(np.mean([self._blind[n] for n in sizes]))}

    @cached_property
    def _blind(self) -> dict[int, float]:
        return {n: self._blind_floor(n) for n in self.difficulties}

    def _blind_floor(self, n: int) -> float:
        rng = self.world_generator(step=1)
        nodes = np.full(FLOOR_GRAPHS, n)
        dags, rows = draw_dags(rng, nodes), np.arange(FLOOR_GRAPHS)
        query = self._query(rng, nodes)
        reached = distances(dags, query) < n
        rank = rng.random((FLOOR_GRAPHS, n + 1))
        rank[rows, query] = 2.0
        rank[:, n] = -1.0  # of no parent
        ordered = rank[rows[:, None, None], dags.parents] < rank[:, :n, None]
        works = (ordered.all(2) | ~reached).all(1)
        count = np.bincount(reached.sum(1)[works], minlength=n + 1)
        return max(int(count[s]) / FLOOR_GRAPHS / comb(n - 1, s - 1) for s in range(1, n + 1))


def _named(names: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """The words of the nodes, int64[B, C], -1 where there is no node."""
    return np.where(nodes < 0, -1, np.take_along_axis(names, np.maximum(nodes, 0), axis=1))


def _named_edges(parents: np.ndarray, names: np.ndarray) -> np.ndarray:
    """The words of parent and child of every edge, int64[B, 4 W, 2], -1 for no edge."""
    n, width, degree = parents.shape
    parent = np.where(parents < width, parents, -1).reshape(n, width * degree)
    child = np.repeat(names, degree, axis=1)
    edges = np.stack([_named(names, parent), child], axis=2)
    edges[parent < 0] = -1
    return edges


def _needed(parents: dict[Word, set[Word]], query: Word) -> set[Word]:
    """The words of the query and of everything that it depends on."""
    found, waiting = {query}, [query]
    while waiting:
        new = parents[waiting.pop()] - found
        found |= new
        waiting += new
    return found
