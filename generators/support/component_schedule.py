"""A schedule of mixture components: the number of a document says which component it is of.

Each part takes its share of what the parts before it have left: after d documents the first
part has floor(d·w1/W), the second floor((d - that)·w2/(W - w1)), and so on. All of it is exact
arithmetic: the counts add up to d, none ever falls as d grows, and each W documents have exactly
w_i of part i.
"""

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from math import gcd, lcm


@cache
def whole_shares(weights: tuple[float, ...]) -> tuple[int, ...]:
    """The smallest whole numbers in the proportions of weights, as these are written in decimal.

    >>> whole_shares((1, 7)), whole_shares((0.25, 0.1, 0)), whole_shares((3, 0, 3))
    ((1, 7), (5, 2, 0), (1, 0, 1))
    """
    exact = [Fraction(repr(float(weight))) for weight in weights]
    together = lcm(*(f.denominator for f in exact))
    whole = [int(f * together) for f in exact]
    common = gcd(*whole)
    return tuple(n // common for n in whole)


def dealt(documents: int, shares: Sequence[int]) -> list[int]:
    """Documents of each part among the first `documents`.

    >>> [dealt(d, [1, 2]) for d in range(4)]
    [[0, 0], [0, 1], [0, 2], [1, 2]]
    """
    counts, left, of = [], documents, sum(shares)
    for share in shares:
        counts.append(left * share // of if share else 0)
        left -= counts[-1]
        of -= share
    return counts


def documents_until(count: int, part: int, shares: Sequence[int]) -> int:
    """The fewest documents of which a part has `count`; its share must not be 0."""
    most = range(count * sum(shares) + 1)
    return bisect_left(most, count, key=lambda documents: dealt(documents, shares)[part])
