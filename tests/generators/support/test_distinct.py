"""Different numbers in a row: all of them possible, equally likely, whatever the parts drawn in."""

from itertools import permutations

import numpy as np
import pytest

from generators.support import distinct


def test_every_order_is_equally_likely() -> None:
    drawn = distinct.distinct(np.random.default_rng(0), 24_000, 2, 4)
    assert drawn.shape == (24_000, 2) and drawn.dtype == np.int64
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    assert set(map(tuple, found.tolist())) == set(permutations(range(4), 2))
    # chi-squared of 11 degrees of freedom: 31.3 is passed by one draw in a thousand
    assert ((counts - 2000) ** 2 / 2000).sum() < 31.3


def test_parts_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = distinct.distinct(np.random.default_rng(1), 10, 5, 7)
    for at_once in (1, 7, 21, 69):
        monkeypatch.setattr(distinct, "DRAWN_AT_ONCE", at_once)
        assert (distinct.distinct(np.random.default_rng(1), 10, 5, 7) == whole).all()
