"""Depo: the k-th successor on a cycle that the text gives in pieces (Physics of LMs 4.1).

Legend: B documents, N most nodes, n nodes of one document, K most hops, Q queries.
"""

from functools import cached_property
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.hashing import mix
from generators.online import OnlineTask
from generators.support.sizes import SizeLaw, draw_sizes
from generators.support.weights import shares_of
from generators.support.words import Words, Writing
from generators.task import Batch
from generators.vocabulary import BOS, Vocabulary

#: Words have to be few enough to be listed.
MOST_WORDS = 1_000_000


class Depo(OnlineTask):
    """n words on a directed cycle, its edges in random order, and up to Q queries.

    A query is `<k> word <ans>`, the answer the k-th successor of the word. In training n follows
    the size law on 3 … N and every k is uniform in 1 … K (beyond n it goes round again); with a
    difficulty, and in the held-out splits, n = N. Held-out cycles are held out as a set of
    edges, whatever their order. The span `answer` and the document's difficulty are those of the
    first query; with a difficulty all queries have it.

    >>> task = Depo(nodes=8, hops=2, symbols=9, longest=2, queries=2).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 3, 3]), 1)
    >>> print(task.vocabulary.decode(batch.tokens[0])); print(batch.loss_mask[0].astype(int))
    <bos> 8 3- 5 1- 7 8 3- 5 1- 7 <1> 8 <ans> 3- 5 <2> 3- 5 <ans> 8
    [0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 1 0 0 0 0 1]

    A word ends with a token without a hyphen. Depo1 has N = 225, 300 or 375, K = 8 (4) and words
    of 1 or 2 tokens over 50 symbols, these defaults but for N; Depo2 N = 75, 100 or 125, K = 16
    (4) and words of 5 to 7 tokens over 4 symbols (3 in the published code).
    """

    version: ClassVar[int] = 1
    difficulty_name: ClassVar[str] = "hops"

    kind: Literal["depo"] = "depo"
    nodes: int = Field(32, ge=8, description="N, most nodes on the cycle")
    hops: int = Field(8, ge=1, description="K, most hops of a query")
    symbols: int = Field(50, ge=2, le=1000, description="tokens that words are made of")
    shortest: int = Field(1, ge=1, description="tokens of the shortest word")
    longest: int = Field(2, ge=1, le=8, description="tokens of the longest word")
    queries: int = Field(10, ge=1, description="Q, most queries in a document")
    sizes: SizeLaw = Field("harmonic", description="law of the number of nodes in training")
    separator: bool = Field(False, description="a token before every edge, as the code can have")
    score_marker: bool = Field(False, description="score <ans> too, as the published code does")
    cot: bool = Field(False, description="write the words on the way before the answer")
    context: int = Field(2048, ge=8, description="most tokens that a document may have")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.longest < self.shortest:
            raise ValueError(f"longest {self.longest} is less than shortest {self.shortest}")
        if self.hops >= self.nodes:
            raise ValueError(
                f"hops {self.hops} leads all around a cycle of nodes {self.nodes}; lower hops to "
                f"at most {self.nodes - 1} or raise nodes to {self.hops + 1}"
            )
        words = len(self.words)
        if not self.nodes <= words <= MOST_WORDS:
            raise ValueError(
                f"symbols {self.symbols} make {words} words of {self.shortest} to {self.longest} "
                f"tokens; needed are at least nodes {self.nodes}, at most {MOST_WORDS}: "
                "change symbols, shortest or longest"
            )
        self.check_context("lower nodes, longest or queries")
        return self

    @cached_property
    def words(self) -> Words:
        """The words that name the nodes."""
        return Words(self.symbols, self.shortest, self.longest)

    @cached_property
    def writing(self) -> Writing:
        edge = ["<edge>"] if self.separator else []
        hops = [f"<{k}>" for k in range(1, self.hops + 1)]
        return Writing(self.words, [BOS, *edge, *hops, "<ans>"])

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return self.writing.vocabulary

    @property
    def context_length(self) -> int:
        written = self.hops if self.cot else 1
        query = 2 + (1 + written) * self.longest
        edge = 2 * self.longest + self.separator
        return 1 + self.nodes * edge + min(self.queries, self.nodes) * query

    @property
    def difficulties(self) -> tuple[int, ...]:
        """A difficulty counts hops: powers of two, K, and 24 if K = 32 as in the published code."""
        powers = {2**i for i in range(self.hops.bit_length())}
        return tuple(sorted(powers | {self.hops} | ({24} if self.hops == 32 else set())))

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
        if difficulty is None and split == "train":
            nodes = draw_sizes(rng, n, self.nodes, self.sizes)
        else:
            nodes = np.full(n, self.nodes)
        cycle = self._cycles(rng, nodes, split)
        shape = (n, min(self.queries, self.nodes))
        if difficulty is None:
            hops = rng.integers(1, self.hops + 1, shape)
        else:
            hops = np.full(shape, difficulty)
        return self._documents(rng, nodes, cycle, hops)

    def training_batch(self, rng: np.random.Generator, n: int, index: int) -> Batch:
        """With weights every query draws its k by them; n follows the size law as ever."""
        weights = self.weights_at(index)
        if weights is None:
            return self.sample(rng, n, index=index)
        nodes = draw_sizes(rng, n, self.nodes, self.sizes)
        cycle = self._cycles(rng, nodes, "train")
        shape = (n, min(self.queries, self.nodes))
        hops = rng.choice(self.difficulties, shape, p=shares_of(weights, self.weighable))
        return self._documents(rng, nodes, cycle, hops)

    def _cycles(self, rng: np.random.Generator, nodes: np.ndarray, split: str) -> np.ndarray:
        """The words on each cycle of a split, int64[B, most nodes], -1 beyond its last."""
        cycle = self.words.distinct(rng, nodes)

        def fingerprint(rows: np.ndarray) -> np.ndarray:
            edges = cycle[rows] * len(self.words) + np.roll(cycle[rows], -1, axis=1)
            return mix(edges, 1).sum(axis=1)

        def redraw(rows: np.ndarray) -> None:
            cycle[rows] = rng.permuted(cycle[rows], axis=1)

        self.settle(split, np.flatnonzero(nodes == self.nodes), fingerprint, redraw)
        return cycle

    def _documents(
        self, rng: np.random.Generator, nodes: np.ndarray, cycle: np.ndarray, hops: np.ndarray
    ) -> Batch:
        n, width = cycle.shape
        order = _shuffled(rng, nodes, width)
        pair = np.stack([order, (order + 1) % nodes[:, None]], axis=2)
        edges = np.take_along_axis(cycle[:, :, None], pair, axis=1)
        if self.separator:
            mark = np.full((n, width, 1), self.writing.marker("<edge>"))
            edges = np.concatenate([mark, edges], axis=2)
        edges[np.arange(width) >= nodes[:, None]] = -1
        asked = _shuffled(rng, nodes, width)[:, : hops.shape[1]]
        queries, on_the_way = self._queries(cycle, nodes, asked, hops[:, : asked.shape[1]])
        bos = np.full((n, 1), self.writing.marker(BOS))
        items = np.concatenate([bos, edges.reshape(n, -1), queries.reshape(n, -1)], axis=1)
        scored = np.zeros(items.shape, bool)
        first = items.shape[1] - queries.shape[1] * queries.shape[2]
        marks = scored[:, first:].reshape(queries.shape)
        marks[:, :, 2 if self.score_marker else 3 :] = True
        scored[:, first:] = marks.reshape(n, -1)
        layout = self.writing.lay_out(items, scored)
        result = first + queries.shape[2] - 1
        spans = {
            "query": layout.span(first + 1, first + 1),
            "answer": layout.span(first + 3, result),
        }
        if self.cot:
            spans["result"] = layout.span(result, result)
        latents = {f"hop.{k}": word for k, word in enumerate(on_the_way[:, 0].T)}
        return Batch(
            layout.tokens,
            layout.loss_mask,
            spans,
            {"nodes": nodes.astype(np.int32), **latents},
            hops[:, 0].astype(np.int32),
        )

    def _queries(
        self, cycle: np.ndarray, nodes: np.ndarray, asked: np.ndarray, hops: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items int64[B, Q, 4 or 3 + K] and the words from 0 to K hops on, -1 beyond the k-th."""
        ahead = (asked[:, :, None] + np.arange(self.hops + 1)) % nodes[:, None, None]
        rows = np.arange(len(cycle))[:, None, None]
        words = cycle[rows, ahead]
        words[np.arange(self.hops + 1) > hops[:, :, None]] = -1
        marker = self.writing.marker("<1>") + hops - 1
        ans = np.full(hops.shape, self.writing.marker("<ans>"))
        result = np.take_along_axis(words, hops[:, :, None], axis=2)
        parts = [marker[:, :, None], words[:, :, :1], ans[:, :, None]]
        if self.cot:
            before = words[:, :, 1:-1].copy()
            before[np.arange(1, self.hops) >= hops[:, :, None]] = -1
            parts.append(before)
        items = np.concatenate([*parts, result], axis=2)
        items[np.arange(asked.shape[1]) >= nodes[:, None]] = -1
        return items, words

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """`other_word`: any of the N - 1 words that are not in the query."""
        self.check_arguments(split, difficulty)
        return {"other_word": 1 / (self.nodes - 1)}


def _shuffled(rng: np.random.Generator, nodes: np.ndarray, width: int) -> np.ndarray:
    """The numbers 0 … n-1 in random order, then those from n on, int64[B, width]."""
    keys = rng.random((len(nodes), width))
    keys[np.arange(width) >= nodes[:, None]] = 2.0
    return np.argsort(keys, axis=1)
