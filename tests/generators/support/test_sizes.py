"""The law of problem sizes."""

import numpy as np
import pytest
from laws import chi_square

from generators.streams import Stream, generator
from generators.support.sizes import draw_sizes, size_law


def test_sizes_follow_their_law():
    law = size_law(16)
    weights = [1 / (n + 4) for n in range(3, 17)]
    assert law == pytest.approx(np.array(weights) / sum(weights))
    means = {225: 70, 300: 90, 375: 110, 110: 38, 16: 8.2, 32: 13.8}
    for largest, mean in means.items():
        found = float((size_law(largest) * np.arange(3, largest + 1)).sum())
        assert found == pytest.approx(mean, rel=0.02)
    assert size_law(5, "uniform").tolist() == [1 / 3] * 3
    drawn = np.bincount(draw_sizes(generator(0, Stream.TRAIN), 50_000, 16), minlength=17)
    assert drawn[:3].sum() == 0
    assert chi_square(drawn[3:], 50_000 * law) < 34.5  # 13 degrees, p = 0.001
