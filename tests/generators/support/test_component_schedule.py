"""Documents dealt out in shares: each part has the floor of its share of what is left."""

from fractions import Fraction
from itertools import pairwise
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.support.component_schedule import dealt, documents_until, whole_shares

SHARES = st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any)


@given(SHARES, st.integers(0, 500))
def test_each_part_has_the_floor_of_its_share_of_what_is_left(
    shares: list[int], documents: int
) -> None:
    left, of = Fraction(documents), Fraction(sum(shares))
    for count, share in zip(dealt(documents, shares), shares, strict=True):
        assert count == (floor(left * share / of) if share else 0)
        left, of = left - count, of - share


@pytest.mark.parametrize(
    ("shares", "owners"),
    [([1, 1], "babab"), ([1, 3], "bbbab"), ([3, 1], "baaab"), ([1, 2, 3], "ccbcba")],
)
def test_whose_the_first_documents_are(shares: list[int], owners: str) -> None:
    """By hand: the first part comes last in its turn, since a floor is reached late."""
    for document, owner in enumerate(owners):
        before, after = dealt(document, shares), dealt(document + 1, shares)
        grown = [b - a for a, b in zip(before, after, strict=True)]
        assert grown == ["abc"[i] == owner for i in range(len(shares))]


@given(SHARES, st.integers(1, 50), st.integers(0, 3))
def test_the_fewest_documents_by_counting_up(shares: list[int], count: int, part: int) -> None:
    part %= len(shares)
    if not shares[part]:
        return
    documents = 0
    while dealt(documents, shares)[part] < count:
        documents += 1
    assert documents_until(count, part, shares) == documents


@settings(max_examples=100)
@given(SHARES, st.integers(0, 500), st.integers(0, 60))
def test_counts_are_exact_in_every_window(shares: list[int], first: int, periods: int) -> None:
    before, after = dealt(first, shares), dealt(first + periods * sum(shares), shares)
    assert sum(before) == first
    assert [b - a for a, b in zip(before, after, strict=True)] == [periods * s for s in shares]
    for earlier, later in pairwise(dealt(d, shares) for d in range(first, first + 30)):
        steps = [b - a for a, b in zip(earlier, later, strict=True)]
        assert sorted(steps) == [0] * (len(shares) - 1) + [1]
    for count, share in zip(before, shares, strict=True):
        assert abs(count - Fraction(first * share, sum(shares))) < len(shares)


def test_weights_are_the_decimals_they_are_written_as() -> None:
    assert whole_shares((0.1, 0.3)) == (1, 3)
    assert whole_shares((1e-5, 1)) == (1, 100_000)
