"""Different random strings, uniform among all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import chi_square

from generators.streams import Stream, generator
from generators.support.strings import NUMBERED, distinct_strings


@given(st.integers(1, 9), st.integers(0, 100))
def test_strings_are_different(n, seed):
    rng = generator(seed, Stream.WORLD)
    strings = distinct_strings(rng, n, 2, 3)
    assert len({tuple(s) for s in strings.tolist()}) == n and strings.max() < 3
    long = distinct_strings(rng, n, 40, 40)
    assert NUMBERED < 40**40 and len({tuple(s) for s in long.tolist()}) == n


def test_every_string_is_as_likely():
    rng = generator(0, Stream.WORLD)
    drawn = np.concatenate([distinct_strings(rng, 3, 2, 3) for _ in range(900)]) @ [3, 1]
    counts = np.bincount(drawn, minlength=9)
    assert chi_square(counts, 300) < 26.1  # chi-square, 8 degrees, p = .001
    with pytest.raises(ValueError, match="10 different strings .* more than the 9 there are"):
        distinct_strings(rng, 10, 2, 3)
