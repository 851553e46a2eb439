"""Questions put to a trained model, and where in them the answer is read.

Legend: B documents.
"""

from abc import ABC
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from generators.plugins import nearest
from generators.streams import Stream, generator
from generators.task import Batch, Task
from probes.probe import Probe, Subject

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: documents per forward pass
CHUNK = 2048
#: documents from which the names of a task's spans and latents are learned
NAMING = 64


def asks(task: Task) -> bool:
    """Whether the task's documents ask for an answer."""
    return "answer" in task.sample(generator(0, Stream.PROBE), 1).spans


def questions(task: Task, seed: int, split: str, difficulty: int | None, items: int) -> Batch:
    """Held-out or training documents, the same at every call: a generator per difficulty.

    Args:
        items: most documents; fewer where the split has fewer of this difficulty.
    """
    n = items
    if difficulty is not None and (count := task.count(split, difficulty)) is not None:
        n = min(n, count)
    step = 1 + 1000 * task.splits.index(split) + (difficulty or 0)
    rng = generator(seed, Stream.EVALUATION, step)
    return task.sample(rng, n, split=split, difficulty=difficulty)


def chunks(batch: Batch) -> list[Batch]:
    """The batch in parts that one forward pass can take."""
    return [
        batch.rows(np.arange(i, min(i + CHUNK, len(batch)))) for i in range(0, len(batch), CHUNK)
    ]


def final_span(batch: Batch) -> str:
    """`result`, or `answer` where nothing is written before it (no chain of thought)."""
    return "result" if "result" in batch.spans else "answer"


def refused(task: Task, split: str, difficulty: int | None = None) -> str | None:
    """The reason why a task has no such split and difficulty, None where it has them."""
    try:
        task.check_arguments(split, difficulty)
    except ValueError as error:
        return str(error)
    return None


def lacks(task: Task, what: str, name: str, known: Sequence[str]) -> str:
    """The error that a task has no `what` of this name, with the names it has."""
    return f"{task.kind} has no {what} {name!r}{nearest(name, known)}; it has {', '.join(known)}"


def named(task: Task, split: str) -> Batch:
    """A few documents of a split, from which the names of spans and latents are read."""
    return task.sample(generator(0, Stream.PROBE), NAMING, split=split)


def having(batch: Batch, span: str) -> Batch:
    """The rows with a certain span.

    Raises:
        ValueError: none of them can have it.
    """
    if span not in batch.spans:
        raise ValueError(f"there is no span {span!r}; the documents have {', '.join(batch.spans)}")
    return batch.rows(batch.spans[span][:, 0] >= 0)


def before(
    batch: Batch, span: str, device: "torch.device | None" = None
) -> tuple["Tensor", tuple["Tensor", "Tensor"], "Tensor"]:
    """The input and the place at which the first token of a span is predicted.

    Returns:
        The documents cut before the first token of the span that comes last, int64[B, T]; the
        index (row, column), int64[B] each, of the token before the span; and the span's first
        token, int64[B]. What stands behind the column is not seen by a causal model.
    """
    import torch

    start = batch.spans[span][:, 0].astype(np.int64)
    wanted = batch.tokens[np.arange(len(batch)), start]
    tokens = torch.from_numpy(batch.tokens[:, : int(start.max())]).long().to(device)
    rows = torch.arange(len(batch), device=device)
    at = (rows, torch.from_numpy(start - 1).to(device))
    return tokens, at, torch.from_numpy(wanted).long().to(device)


class QuestionProbe(Probe, ABC):
    """A probe that reads the answers to questions of one split, difficulty by difficulty."""

    by_default: ClassVar[bool] = False
    needs: ClassVar[str] = "questions with an answer"

    items: int = Field(512, ge=1, description="most documents per difficulty")
    split: str = Field("test", description="split of the questions")
    difficulties: tuple[int, ...] | None = Field(None, description="None: all of the split's")

    @classmethod
    def applies(cls, task: Task) -> bool:
        return asks(task)

    def misfits(self, task: Task) -> Iterator[tuple[str, str]]:
        if wrong := refused(task, self.split):
            yield "split", wrong
            return
        for difficulty in self.difficulties or ():
            if wrong := refused(task, self.split, difficulty):
                yield "difficulties", wrong

    def batches(self, subject: Subject) -> Iterator[tuple[int | None, Batch]]:
        """Yields (difficulty, documents), the first documents of the accuracy probe.

        Raises:
            ValueError: a split or difficulty that the task lacks.
        """
        self.check(subject.task)
        known = subject.task.difficulties_of(self.split) or (None,)
        for difficulty in known if self.difficulties is None else self.difficulties:
            yield (
                difficulty,
                questions(subject.task, subject.seed, self.split, difficulty, self.items),
            )


def floor_of(task: Task, difficulty: int | None, split: str) -> float | None:
    """The highest of the task's floors: the best accuracy without the ability."""
    floors = task.floors(difficulty, split)
    return max(floors.values()) if floors else None
