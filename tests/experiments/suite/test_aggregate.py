"""Aggregates over axes against their definitions, and the coverage of what they resample."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from experiments.suite.aggregate import interquartile_mean, probability_of_improvement


def test_interquartile_mean_leaves_out_a_quarter_at_each_end() -> None:
    found = interquartile_mean({"a": [0.0, 0.2], "b": [0.4, 0.6], "c": [0.8, 1.0], "d": [0.9, 0.9]})
    assert found.value == pytest.approx((0.4 + 0.6 + 0.8 + 0.9) / 4)
    assert found.low is not None and found.high is not None and found.low < found.value < found.high


def test_seeds_are_resampled_within_their_axis() -> None:
    """Axes whose seeds agree leave nothing to resample, however far apart the axes are."""
    found = interquartile_mean({"a": [0.0, 0.0], "b": [1.0, 1.0]})
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    one = interquartile_mean({"a": [0.2], "b": [0.4]})
    assert one.value == pytest.approx(0.3) and one.low is None
    mixed = interquartile_mean({"a": [0.2], "b": [0.4, 0.8]})
    assert mixed.low is not None and mixed.low < mixed.value


def test_improvement_is_mann_whitney_over_pairs_averaged_over_axes() -> None:
    rng = np.random.default_rng(1)
    mine = {"a": rng.normal(0.5, 1, 6).tolist(), "b": rng.normal(0, 1, 5).tolist(), "c": [1.0]}
    theirs = {"a": rng.normal(0, 1, 4).tolist(), "b": rng.normal(0, 1, 7).tolist(), "d": [9.0]}
    by_scipy = [
        mannwhitneyu(mine[k], theirs[k]).statistic / (len(mine[k]) * len(theirs[k])) for k in "ab"
    ]
    assert probability_of_improvement(mine, theirs).value == pytest.approx(np.mean(by_scipy))


def test_ties_are_half_and_what_is_not_shared_is_refused() -> None:
    assert probability_of_improvement({"a": [1.0, 1.0]}, {"a": [1.0]}).value == 0.5
    assert probability_of_improvement({"a": [2.0]}, {"a": [1.0]}) == (1.0, None, None)
    with pytest.raises(ValueError, match="no axis"):
        probability_of_improvement({"a": [1.0]}, {"b": [1.0]})
    with pytest.raises(ValueError, match="no values"):
        interquartile_mean({})
