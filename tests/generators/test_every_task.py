"""What holds of every kind of task: the same bytes in any process, nothing held out in training."""

import os
import subprocess
import sys
from pathlib import Path

import every_task
import pytest
from every_task import KINDS, fingerprint, task_of

from generators.streams import Stream, generator

FINGERPRINTS = """
from every_task import KINDS, fingerprint
print("\\n".join(fingerprint(kind) for kind in KINDS))
"""


def test_another_process_writes_the_same_bytes() -> None:
    """Also one that orders its sets otherwise."""
    helpers = Path(every_task.__file__).parent
    found = subprocess.check_output(
        [sys.executable, "-c", FINGERPRINTS],
        cwd=helpers.parents[1],
        env=os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": f"{helpers}{os.pathsep}."},
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
