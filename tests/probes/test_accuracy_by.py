"""Accuracy by a latent, with a model that works out formulas only so deep."""

import hop_solver
import numpy as np
import pytest
from known_models import scripted, subject

from generators.mano import Mano
from probes.accuracy import Accuracy
from probes.accuracy_by import AccuracyBy
from probes.probe import Misfit

TASK = Mano(length=3, modulus=5, loss="answer").bind(1)
APPLY = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


def worked_out(words):
    """(value, depth, words left) of a formula in prefix notation, by recursion."""
    first, rest = words[0], words[1:]
    if first not in APPLY:
        return int(first), 0, rest
    left, deep_left, rest = worked_out(rest)
    right, deep_right, rest = worked_out(rest)
    return APPLY[first](left, right) % 5, 1 + max(deep_left, deep_right), rest


def solver(deepest):
    """Right where the tree is at most so deep, one too high where it is deeper."""

    def answer(tokens):
        words = TASK.vocabulary.decode(np.array(tokens)).split()
        if words[-1] != "<ans>":
            return 1
        value, depth, _ = worked_out(words[2:-1])
        return TASK.vocabulary.id(str((value + (depth > deepest)) % 5))

    return subject(scripted(len(TASK.vocabulary), answer), TASK)


@pytest.mark.parametrize("deepest", [1, 2, 3])
def test_right_are_the_formulas_of_the_depths_that_are_worked_out(deepest):
    rows = AccuracyBy(latent="depth", items=300).measure(solver(deepest))
    assert [(r.difficulty, r.item) for r in rows] == [
        (2, "depth 2"),
        (3, "depth 2"),
        (3, "depth 3"),
    ]
    for row in rows:
        assert row.value == (int(row.item[-1]) <= deepest)
        assert row.low <= row.value <= row.high
        assert row.metric == "accuracy" and row.split == "test" and row.ceiling == 1


def test_groups_make_up_the_accuracy_of_their_difficulty():
    half = solver(2)
    by_depth = [r for r in AccuracyBy(latent="depth", items=300).measure(half) if r.difficulty == 3]
    (whole,) = Accuracy(splits=("test",), difficulties=(3,), items=300).measure(half)
    assert sum(r.n_items for r in by_depth) == whole.n_items
    right = sum(r.value * r.n_items for r in by_depth)
    assert right / whole.n_items == pytest.approx(whole.value)


def test_the_floor_is_what_the_commonest_answer_gets_in_the_group():
    zero = TASK.vocabulary.id("0")  # products make 0 the commonest value
    constant = subject(scripted(len(TASK.vocabulary), lambda _: zero), TASK)
    for row in AccuracyBy(latent="depth").measure(constant):
        assert row.floor >= max(row.value, max(TASK.floors(row.difficulty).values()))
        assert row.floor < 0.4


def test_questions_without_the_property_are_left_out():
    rows = AccuracyBy(latent="hop.3").measure(hop_solver.looped())
    assert {row.difficulty for row in rows} == {3}, "questions of two hops have no third"
    assert sum(row.n_items for row in rows) == hop_solver.TASK.count("test", 3)


def test_a_latent_that_there_is_not_is_named_before_anything_runs():
    with pytest.raises(Misfit, match=r"no latent 'dept' \(did you mean 'depth'\?\)"):
        AccuracyBy(latent="dept").measure(solver(2))
    wide = Mano(length=3, modulus=101, loss="answer").bind(0)
    with pytest.raises(Misfit, match="left of mano has 4[0-9] values among a few documents"):
        AccuracyBy(latent="left").check(wide)
