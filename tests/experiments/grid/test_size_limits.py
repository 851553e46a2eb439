"""Worlds that no machine can hold are refused in a moment, before anything of them is made."""

import pytest

from experiments.errors import LoopscopeError
from experiments.grid.lookup import tasks_of
from generators.support.strings import fewer_strings


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("multihop", "entities=10000000000"),
        ("composition", "relations=1000000000"),
        ("comparison", "attributes=1000000000"),
        ("comparison", "values=10000000000"),
        ("biod", "attributes=1000000000"),
        ("biod", "alphabet=10000000000"),
        ("biod", "name_length=10000000000"),
        ("random_sequences", "length=10000000000"),
        ("bios", "versions=10000000000"),
        ("copy", "symbols=10000000000"),
    ],
)
def test_refused_with_both_numbers(monkeypatch, kind: str, change: str) -> None:
    monkeypatch.setenv("LOOPSCOPE_MEMORY", "8G")
    with pytest.raises(LoopscopeError, match=rf"world of task {kind} needs .*B .* there are 8"):
        tasks_of(kind, [change], part=None, seed=0)
    assert tasks_of(kind, [], part=None, seed=0)[kind].kind == kind


def test_strings_are_counted_exactly() -> None:
    for wanted in range(1, 70):
        for length in range(1, 8):
            for letters in range(2, 6):
                assert fewer_strings(wanted, length, letters) == (letters**length < wanted)
    assert not fewer_strings(10**6, 10**12, 2)
