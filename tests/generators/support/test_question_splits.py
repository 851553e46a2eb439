"""Splits of multi-hop questions against enumeration."""

import numpy as np
import pytest

from generators.streams import Stream, generator
from generators.support.question_splits import SPLITS, QuestionSplits


@pytest.mark.parametrize("whole_strings", [False, True])
def test_rejection_draws_from_the_splits_that_are_listed(
    monkeypatch: pytest.MonkeyPatch, whole_strings: bool
) -> None:
    splits = QuestionSplits(6, 6, 0.3, whole_strings, salt=3)
    listed = {name: splits.listed(name, 2) for name in SPLITS}
    assert sum(len(part) for part in listed.values() if part is not None) == 6 * 36
    monkeypatch.setattr("generators.support.question_splits.LISTED", 80)  # strings still are
    for name, part in listed.items():
        assert splits.listed(name, 2) is None and part is not None
        drawn = splits.draw(generator(0, Stream.EVALUATION), 3000, name, 2)
        assert set(drawn.tolist()) == set(part.tolist())


@pytest.mark.parametrize("relations", [6, 40])
def test_whole_strings_are_in_one_split(monkeypatch: pytest.MonkeyPatch, relations: int) -> None:
    """Also where there are so many that their splits are not listed."""
    if relations == 40:
        monkeypatch.setattr("generators.support.question_splits.LISTED", 0)
    splits = QuestionSplits(6, relations, 0.3, True, salt=3)
    which = splits.split_of(2, np.arange(splits.questions(2))).reshape(-1, 6)
    assert (which == which[:, :1]).all() and 0.1 < (which == 2).mean() < 0.2
    single = QuestionSplits(6, relations, 0.3, False, salt=3)
    which = single.split_of(2, np.arange(splits.questions(2))).reshape(-1, 6)
    assert not (which == which[:, :1]).all()


def test_too_little_is_refused() -> None:
    QuestionSplits(6, 4, 0.3, True).check()
    for relations, share, whole, says in (
        (1, 0.5, True, "leaves none to train on"),
        (2, 0.1, False, "fewer than 4 to test on"),
        (2, 0.9, False, "fewer than 20 to train on"),
    ):
        with pytest.raises(ValueError, match=says):
            QuestionSplits(6, relations, share, whole).check()
