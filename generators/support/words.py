"""Words of one or more tokens, and documents written with them.

Legend: B documents, C items (words and markers) of a document, T tokens, W words there can be,
V symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from generators.vocabulary import Vocabulary


@dataclass(frozen=True)
class Words:
    """Words of `shortest` to `longest` tokens over V symbols; the last token marks the end.

    A length is uniform, then every token is (2512.17351, generators of Depo and Brevo).
    """

    symbols: int
    shortest: int
    longest: int

    @cached_property
    def per_length(self) -> np.ndarray:
        """Number of words of each length, int64[longest - shortest + 1]."""
        return self.symbols ** np.arange(self.shortest, self.longest + 1)

    def __len__(self) -> int:
        return int(self.per_length.sum())

    @cached_property
    def tokens(self) -> list[str]:
        """Symbols inside of a word (where there are any), then those at its end."""
        numbers = range(1, self.symbols + 1)
        inside = [f"{i}-" for i in numbers] if self.longest > 1 else []
        return inside + [str(i) for i in numbers]

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each word, int64[W]."""
        return np.repeat(np.arange(self.shortest, self.longest + 1), self.per_length)

    @cached_property
    def spelling(self) -> np.ndarray:
        """int32[W, longest], index into `tokens`, -1 beyond the end."""
        first = np.cumsum(self.per_length) - self.per_length
        number = np.arange(len(self)) - np.repeat(first, self.per_length)
        found = np.full((len(self), self.longest), -1, np.int32)
        for place in range(self.longest):
            power = self.lengths - 1 - place
            digit = number // self.symbols ** np.maximum(power, 0) % self.symbols
            at_end = self.symbols if self.longest > 1 else 0
            found[:, place] = np.where(power < 0, -1, np.where(power == 0, digit + at_end, digit))
        return found

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """Numbers of independent words, int64 of the given shape."""
        first = np.cumsum(self.per_length) - self.per_length
        length = rng.integers(0, len(self.per_length), shape, np.uint8)
        return first[length] + (rng.random(shape) * self.per_length[length]).astype(np.int64)

    def distinct(self, rng: np.random.Generator, counts: np.ndarray) -> np.ndarray:
        """Different words of each row in random order, int64[B, max(counts)], -1 beyond its count.

        The law is that of drawing words one by one and drawing again those already there.
        """
        width = int(counts.max())
        if len(self) <= 4 * width:  # few words: all at once, by exponential races
            weight = 1 / np.repeat(self.per_length, self.per_length)
            times = rng.standard_exponential((len(counts), len(self))) / weight
            found = np.argsort(times, axis=1)[:, :width]
        else:
            found = self._first_distinct(rng, counts)
        inside = np.arange(width) < counts[:, None]
        order = np.argsort(np.where(inside, rng.random(inside.shape), 2.0), axis=1)
        return np.where(inside, np.take_along_axis(found, order, axis=1), -1)

    def _first_distinct(self, rng: np.random.Generator, counts: np.ndarray) -> np.ndarray:
        width = int(counts.max())
        drawn = self.draw(rng, (len(counts), width + 8))
        while True:
            order = np.argsort(drawn, axis=1, kind="stable")
            ordered = np.take_along_axis(drawn, order, axis=1)
            new = np.ones(drawn.shape, bool)
            new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
            fresh = np.empty_like(new)
            np.put_along_axis(fresh, order, new, axis=1)
            place = np.cumsum(fresh, axis=1)
            if (place[:, -1] >= counts).all():
                break
            drawn = np.hstack([drawn, self.draw(rng, (len(counts), width // 2 + 8))])
        found = np.full((len(counts), width), -1)
        found[np.arange(width) < counts[:, None]] = drawn[fresh & (place <= counts[:, None])]
        return found


@dataclass(frozen=True)
class Writing:
    """Documents as rows of items: -1 is nothing, then all words, then markers of one token."""

    words: Words
    markers: Sequence[str]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.build([*self.markers, *self.words.tokens])

    def marker(self, name: str) -> int:
        """The item number of a marker."""
        return len(self.words) + self.markers.index(name)

    @cached_property
    def _items(self) -> tuple[np.ndarray, np.ndarray]:
        """Length int64[W + M + 1] and token ids int32[W + M + 1, longest] of every item."""
        words, markers = self.words, len(self.markers)
        lengths = np.concatenate([words.lengths, np.ones(markers, np.int64), [0]])
        tokens = np.zeros((len(lengths), words.longest), np.int32)
        tokens[: len(words)] = words.spelling + 1 + markers
        tokens[len(words) : -1, 0] = np.arange(1, markers + 1)
        return lengths, tokens

    def lay_out(self, items: np.ndarray, scored: np.ndarray) -> "Layout":
        """The documents of int[B, C] items, of which bool[B, C] are scored."""
        item_lengths, item_tokens = self._items
        lengths = item_lengths[items]
        stops = np.cumsum(lengths, axis=1)
        inside = np.arange(stops[:, -1].max()) < stops[:, -1:]
        flat = lengths.ravel()
        begins = np.cumsum(flat) - flat
        letter = np.arange(flat.sum()) - np.repeat(begins, flat)
        tokens = np.zeros(inside.shape, np.int32)
        tokens[inside] = item_tokens[np.repeat(items.ravel(), flat), letter]
        loss_mask = np.zeros(inside.shape, bool)
        loss_mask[inside] = np.repeat(scored.ravel(), flat)
        return Layout(tokens, loss_mask, stops - lengths, stops)

    def read(self, tokens: np.ndarray) -> list[tuple[int, ...]]:
        """Words and markers, each as its token ids; the inverse of writing, up to padding."""
        last_inner = len(self.markers) + (self.words.symbols if self.words.longest > 1 else 0)
        found, word = [], []
        for token in tokens.tolist():
            word.append(token)
            if token > last_inner or token <= len(self.markers):
                found.append(tuple(word))
                word = []
        return [*found, tuple(word)] if word else found


@dataclass(frozen=True)
class Layout:
    """tokens int32[B, T], loss_mask bool[B, T], starts and stops int64[B, C] of the items."""

    tokens: np.ndarray
    loss_mask: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def span(self, first: int, last: int) -> np.ndarray:
        """int32[B, 2] from the start of one item to the stop of another."""
        return np.stack([self.starts[:, first], self.stops[:, last]], axis=1).astype(np.int32)
