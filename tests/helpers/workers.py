"""A worker of the local back end in the process of the test."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from experiments.execution.backends import local
from experiments.execution.job import Job
from experiments.execution.worker import StopFlag, perform


class WorkerHere:
    """Does each job when it is sent. What a process of its own costs is to import torch.

    It stands for `subprocess.Popen`, as far as the back end asks.
    """

    def __init__(self, log: Path) -> None:
        read, write = os.pipe()
        self.stdout, self._answers = os.fdopen(read, "rb", 0), os.fdopen(write, "wb", 0)
        self.stdin = self

    def write(self, line: bytes) -> None:
        for outcome in perform(Job.model_validate_json(line), StopFlag()):
            self._answers.write(outcome.model_dump_json().encode() + b"\n")

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self._answers.close()

    def poll(self) -> int | None:
        return 0 if self._answers.closed else None

    def wait(self) -> int:
        return 0


@contextmanager
def working_here() -> Iterator[None]:
    """Grids train in this process meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "_spawn", WorkerHere)
        yield
