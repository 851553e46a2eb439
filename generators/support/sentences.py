"""Templates as arrays: looked up and copied, a batch of documents needs no Python loop.

Legend: A attributes, K templates of each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np

from generators.templates import ATTRIBUTES, DATE, PRONOUNS, Template, read_templates
from generators.vocabulary import Vocabulary

#: ends the full name where a sentence starts with `{whose}`
GENITIVE = "'s"
#: a last sentence that names the person; None: the name
CLOSING = ("this", "is", None, None, None, ".")
#: first index of the arrays: how the sentence mentions the person
FULL_NAME, PRONOUN = 0, 1
NAME_TOKENS = 3
EMPLOYER, COMPANY_CITY = ATTRIBUTES.index("employer"), ATTRIBUTES.index("company_city")
#: uint8[720, 6], all orders of the sentences; the first is the order of `ATTRIBUTES`
ORDERS = np.array(list(permutations(range(len(ATTRIBUTES)))), np.uint8)


def _employer_first(orders: np.ndarray) -> np.ndarray:
    """Swaps employer and city where the city comes first, which keeps the orders uniform."""
    places = np.argsort(orders, axis=1)
    wrong = places[:, EMPLOYER] > places[:, COMPANY_CITY]
    exchanged = np.arange(len(ATTRIBUTES), dtype=np.uint8)
    exchanged[[EMPLOYER, COMPANY_CITY]] = COMPANY_CITY, EMPLOYER
    return np.where(wrong[:, None], exchanged[orders], orders)


EMPLOYER_FIRST_ORDERS = _employer_first(ORDERS)


def chosen_templates(n: int) -> tuple[tuple[Template, ...], ...]:
    """The first n templates of each attribute."""
    return tuple(read_templates(attribute)[:n] for attribute in ATTRIBUTES)


def mentions(n: int) -> tuple[str, ...]:
    """The mentions (`who`, `whose`) that occur among the first n templates."""
    used = {template.mention for group in chosen_templates(n) for template in group}
    return tuple(mention for mention in PRONOUNS if mention in used)


def template_words(n: int) -> Iterator[str]:
    """Words of the first n templates, with repeats."""
    for group in chosen_templates(n):
        for template in group:
            yield from (*template.before, *template.after)


def every_sentence(orders: np.ndarray, templates: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts with every sentence there can be: rows of `orders` int[B], templates int[B, A].

    Each of the first so many templates of all attributes, after every sentence that can be first.
    """
    openers = np.unique(orders[:, 0], return_index=True)[1]
    template = np.tile(np.arange(templates), len(openers))
    return np.repeat(openers, templates), np.repeat(template[:, None], orders.shape[1], axis=1)


@dataclass(frozen=True)
class SentenceTable:
    """Every sentence with blanks for the mention and the value.

    Attributes:
        words: int32[W], all sentences one after another; 0 at the blanks.
        start, length: int64[2, A, K], where a sentence lies in `words`.
        value: int64[2, A, K], tokens of the sentence before its value.
        whose: int64[A, K], 1 where the pronoun is his or her.
        date_order: int64[K, 3], which of month, day and year comes first, second, third.
    """

    words: np.ndarray
    start: np.ndarray
    length: np.ndarray
    value: np.ndarray
    whose: np.ndarray
    date_order: np.ndarray

    @classmethod
    def build(cls, vocabulary: Vocabulary, n: int) -> "SentenceTable":
        """The table of the first n templates of each attribute."""
        groups = chosen_templates(n)
        shape = (2, len(groups), n)
        start, length, value = (np.zeros(shape, np.int64) for _ in range(3))
        words: list[int] = []
        for at in np.ndindex(shape):
            template = groups[at[1]][at[2]]
            mention = [0]
            if at[0] == FULL_NAME:
                genitive = [vocabulary.id(GENITIVE)] if template.mention == "whose" else []
                mention = [0] * NAME_TOKENS + genitive
            head = mention + [vocabulary.id(word) for word in template.before]
            tail = [vocabulary.id(word) for word in template.after]
            sentence = head + [0] * len(template.slots) + tail
            start[at], length[at], value[at] = len(words), len(sentence), len(head)
            words += sentence
        whose = [[template.mention == "whose" for template in group] for group in groups]
        dates = [[DATE.index(slot) for slot in template.slots] for template in groups[0]]
        return cls(
            np.array(words, np.int32), start, length, value, np.array(whose, int), np.array(dates)
        )

    def dates(self, reversed_date: bool) -> np.ndarray:
        """`date_order`, or day, month, year for every template."""
        return (
            np.broadcast_to([1, 0, 2], self.date_order.shape) if reversed_date else self.date_order
        )

    def longest(self, openers: np.ndarray, fullname: bool, name_last: bool = False) -> int:
        """Tokens of the longest text of six sentences that starts with one of `openers`."""
        longest = self.length.max(axis=2)  # [2, A]
        if fullname:
            return int(longest[FULL_NAME].sum())
        if name_last:
            return int(longest[PRONOUN].sum()) + len(CLOSING)
        extra = (longest[FULL_NAME] - longest[PRONOUN])[openers].max()
        return int(longest[PRONOUN].sum() + extra)


def closing_tokens(vocabulary: Vocabulary) -> np.ndarray:
    """int32[C], the tokens of `CLOSING`, 0 for the name."""
    return np.array([vocabulary.id(word) if word else 0 for word in CLOSING], np.int32)


@cache
def sentence_table(vocabulary: Vocabulary, n: int) -> SentenceTable:
    """The table, cached: tasks with the same vocabulary and templates share it."""
    return SentenceTable.build(vocabulary, n)


#: tokens of each span
SPANS = {**dict.fromkeys(ATTRIBUTES, 1), "name": NAME_TOKENS, "gender": 1}
SPANS["birth_date"] = len(DATE)


@dataclass(frozen=True)
class Layout:
    """B documents of six sentences with their words in place and blanks for the rest.

    A closing sentence may follow.

    Column 0 is left to the token that begins every document.

    Attributes:
        tokens: int32[B, T], right-padded; T is the longest of these documents.
        inside: bool[B, T], what belongs to a sentence.
        start: int64[B, A], first column of each sentence, in order of appearance.
        name: int64[B], first column of the (first) full name.
        value: int64[B, A], first column of each attribute's value, in order of `ATTRIBUTES`.
        whose: int64[B, A], form of each sentence's mention, in order of appearance.
    """

    tokens: np.ndarray
    inside: np.ndarray
    start: np.ndarray
    name: np.ndarray
    value: np.ndarray
    whose: np.ndarray

    def spans(self, *, fullname: bool, name_last: bool) -> dict[str, np.ndarray]:
        """Spans int32[B, 2] of every value, of the name and of the first pronoun (`gender`)."""
        starts = np.empty((len(self.start), len(SPANS)), np.int32)
        starts[:, : len(ATTRIBUTES)] = self.value
        starts[:, -2] = self.name
        starts[:, -1] = self.start[:, 0 if name_last else 1]
        spans = np.stack([starts, starts + np.array(list(SPANS.values()), np.int32)], axis=2)
        if fullname:
            spans[:, -1] = -1
        return {name: spans[:, i] for i, name in enumerate(SPANS)}


def lay_out(
    table: SentenceTable,
    orders: np.ndarray,
    template: np.ndarray,
    fullname: bool,
    closing: np.ndarray | None = None,
) -> Layout:
    """The layout of B texts: the full name in the first sentence, in the others if `fullname`.

    Args:
        orders: int64[B, A], attribute of each sentence in order of appearance.
        template: int64[B, A], its template.
        closing: int32[C], `CLOSING` with blanks (0), which then has the only full name.
    """
    B, A = orders.shape
    form = np.full(A, FULL_NAME if fullname else PRONOUN)
    form[0] = FULL_NAME if closing is None else PRONOUN
    at = (form, orders, template)
    length = table.length[at]
    stop = 1 + length.cumsum(axis=1)
    start = stop - length
    flat = length.ravel()
    # each word's place in the table: a count from the start of its sentence
    skip = table.start[at].ravel() - (flat.cumsum() - flat)
    words = table.words[np.arange(flat.sum()) + np.repeat(skip, flat)]
    inside = np.arange(stop[:, -1].max(initial=1)) < stop[:, -1:]
    inside[:, 0] = False
    tokens = np.zeros(inside.shape, np.int32)
    tokens[inside] = words
    value = np.empty((B, A), np.int64)
    np.put_along_axis(value, orders, start + table.value[at], axis=1)
    name = start[:, 0]
    if closing is not None:
        columns = stop[:, -1:] + np.arange(len(closing))
        room = ((0, 0), (0, len(closing)))
        tokens, inside = np.pad(tokens, room), np.pad(inside, room)
        np.put_along_axis(tokens, columns, closing, axis=1)
        np.put_along_axis(inside, columns, True, axis=1)
        name = columns[:, CLOSING.index(None)]
    return Layout(tokens, inside, start, name, value, table.whose[orders, template])
