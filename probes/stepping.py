"""Single questions, loop by loop: what a model would answer, and whether it would leave.

The state before the first token of the answer is read through the head after every loop, as the
probe `lens` does; the gate says with which probability a token leaves after each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probes.lens import latent_names, targets_of
from probes.probe import Subject
from probes.questions import before, final_span, having, questions, refused

if TYPE_CHECKING:
    from torch import Tensor

    from generators.batch import Batch

#: candidates that are told of each loop
CANDIDATES = 5


@dataclass(frozen=True)
class Step:
    """The answer after one loop.

    Attributes:
        candidates: the likeliest tokens with their probabilities, the likeliest first.
        answer: probability of the right answer's first token.
        bridges: probability of each bridge entity of the question.
        exit: probability of leaving after this loop; None without a gate that says so.
    """

    candidates: tuple[tuple[str, float], ...]
    answer: float
    bridges: tuple[float, ...]
    exit: float | None


@dataclass(frozen=True)
class Stepped:
    """One question and its answer after every loop.

    Attributes:
        question: the document up to the answer, as a reader wants to see it.
        answer: the first token of the right answer.
        bridges: (name, token) of the results on the way, such as `hop.1`; none where the task
            has none or no token says them.
    """

    question: str
    answer: str
    difficulty: int | None
    bridges: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]


def step_through(subject: Subject, n: int, split: str = "test") -> tuple[Stepped, ...]:
    """The first `n` questions of every difficulty of a split, those of the probe `accuracy`.

    Raises:
        ValueError: the task asks nothing, or has no such split.
    """
    task = subject.task
    if wrong := refused(task, split):
        raise ValueError(wrong)
    names = latent_names(task, subject.seed)
    found: list[Stepped] = []
    for difficulty in task.difficulties_of(split) or (None,):
        batch = questions(task, subject.seed, split, difficulty, n)
        batch = having(batch, final_span(batch))
        if len(batch):
            targets = targets_of(batch, final_span(batch), difficulty, names)
            found += _stepped(subject, batch, difficulty, targets)
    return tuple(found)


def _stepped(
    subject: Subject, batch: "Batch", difficulty: int | None, targets: dict[str, np.ndarray]
) -> Iterator[Stepped]:
    vocabulary, span = subject.task.vocabulary, final_span(batch)
    p, exits = _probabilities(subject, batch, span)
    best = np.argsort(-p, axis=-1, kind="stable")[..., :CANDIDATES]
    for i in range(len(batch)):
        known = {name: int(token[i]) for name, token in targets.items() if token[i] >= 0}
        answer = known.pop("answer")
        known.pop("hop.0", None)  # where the question begins
        steps = tuple(
            Step(
                tuple((vocabulary.text(token), float(now[token])) for token in best[loop, i]),
                float(now[answer]),
                tuple(float(now[token]) for token in known.values()),
                None if exits is None else float(exits[loop, i]),
            )
            for loop, now in enumerate(p[:, i])
        )
        start = int(batch.spans[span][i, 0])
        yield Stepped(
            vocabulary.decode(batch.tokens[i, :start]),
            vocabulary.text(answer),
            difficulty,
            tuple((name, vocabulary.text(token)) for name, token in known.items()),
            steps,
        )


def _probabilities(
    subject: Subject, batch: "Batch", span: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Of every loop the probabilities of tokens [n, B, V] and of leaving [n, B]."""
    import torch

    from models.exits import exit_log_probabilities

    model = subject.model
    tokens, at, _ = before(batch, span, subject.device)
    with torch.no_grad():
        outputs = model(tokens)
        loops = range(1, outputs.n_loops + 1)
        p = torch.stack([outputs.logits(loop, at).double().softmax(-1) for loop in loops])
        leaves: Tensor | None = None
        if model.read_exit is not None and model.halting is None:
            leaves = exit_log_probabilities(outputs.exit_logits(at)).exp()
    return p.cpu().numpy(), None if leaves is None else leaves.cpu().numpy()
