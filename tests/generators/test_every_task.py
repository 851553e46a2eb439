"""What holds of every kind of task: its bytes, its example, nothing held out in training."""

import doctest
import os
import subprocess
import sys
from pathlib import Path

import every_task
import pytest
from every_task import KINDS, fingerprint, golden_digests, task_of

from generators.plugins import choices
from generators.streams import Stream, generator
from generators.task import Task

DIGESTS = """
from every_task import KINDS, fingerprint, golden_digests
print(*map(fingerprint, KINDS), *golden_digests())
"""
GOLDEN = [
    *(golden for *_, golden in every_task.GOLDEN),
    *(golden for *_, golden in every_task.GOLDEN_WITH_WORDS),
    every_task.EXTRACTION_GOLDEN,
]


def test_golden() -> None:
    """The bytes are those of earlier versions of this code."""
    assert golden_digests() == GOLDEN
    versions = {kind: cls.version for kind, cls in choices(Task, "generators").items()}
    assert versions == dict.fromkeys(versions, 1) | {"mano": 2}


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_writes_the_same_bytes(hash_seed: str) -> None:
    """Also one that orders its sets otherwise."""
    helpers = Path(every_task.__file__).parent
    found = subprocess.check_output(
        [sys.executable, "-c", DIGESTS],
        cwd=helpers.parents[1],
        env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{helpers}{os.pathsep}."},
        text=True,
    ).split()
    assert found == [*map(fingerprint, KINDS), *GOLDEN]


@pytest.mark.parametrize("kind", KINDS)
def test_the_docstring_shows_a_document(kind: str) -> None:
    """As an example that runs, which it does with all others (`--doctest-modules`)."""
    cls = choices(Task, "generators")[kind]
    examples = doctest.DocTestParser().get_examples(cls.__doc__ or "")
    assert any("vocabulary.decode(" in example.source for example in examples)


@pytest.mark.parametrize("kind", [k for k in KINDS if "test" in task_of(k).splits])
def test_no_held_out_question_is_in_training(kind: str) -> None:
    """Up to the answer: a question with a right and a wrong answer would count as well."""
    task = task_of(kind)

    def asked(split: str, seed: int) -> set[bytes]:
        found = set()
        for difficulty in task.difficulties_of("test") or (None,):
            batch = task.sample(
                generator(seed, Stream.EVALUATION), 1500, split=split, difficulty=difficulty
            )
            for row, (start, _) in zip(batch.tokens, batch.spans["answer"], strict=True):
                found.add(row[:start].tobytes())
        return found

    held_out = asked("test", 0)
    assert held_out.isdisjoint(asked("train", 1))
    if held_out.isdisjoint(asked("test", 2)):
        pytest.skip("so many questions that none comes twice: its own tests look at the split")
