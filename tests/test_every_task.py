"""What holds of every kind of task: the same bytes in any process, nothing held out in training."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from generators.plugins import choices
from generators.streams import Stream, generator
from generators.task import Task

KINDS = sorted(choices(Task, "generators"))

FINGERPRINTS = """
from test_every_task import KINDS, fingerprint
print("\\n".join(fingerprint(kind) for kind in KINDS))
"""


def task_of(kind: str) -> Task:
    return choices(Task, "generators")[kind]().bind(5)  # pyrefly: ignore


def fingerprint(kind: str) -> str:
    """Of tokens, masks, spans and difficulties of a batch of every split."""
    task = task_of(kind)
    digest = hashlib.sha256()
    for split in task.splits:
        batch = task.sample(generator(5, Stream.TRAIN, 2), 64, split=split, index=128)
        for name in sorted(batch.spans):
            digest.update(name.encode() + batch.spans[name].tobytes())
        digest.update(batch.tokens.tobytes() + batch.loss_mask.tobytes())
        digest.update(np.asarray(batch.difficulty).tobytes())
    return digest.hexdigest()


def test_another_process_writes_the_same_bytes() -> None:
    """Also one that orders its sets otherwise."""
    tests = Path(__file__).parent
    found = subprocess.check_output(
        [sys.executable, "-c", FINGERPRINTS],
        cwd=tests.parent,
        env=os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": f"{tests}{os.pathsep}."},
        text=True,
    ).split()
    assert dict(zip(KINDS, found, strict=True)) == {kind: fingerprint(kind) for kind in KINDS}


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
