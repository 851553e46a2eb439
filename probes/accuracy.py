"""Manipulation accuracy: the share of questions that greedy decoding answers rightly.

Legend: B documents, T tokens, A tokens of the longest answer, S samples.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from generators.task import Batch, Task
from probes.probe import Measurement, Probe, Subject
from probes.questions import asks, chunks, floor_of, questions, refused
from probes.statistics import wilson_interval

if TYPE_CHECKING:
    from models.decoding.generation import Sampling
    from models.interface import LoopedModel


def greedy_answers(model: "LoopedModel", batch: Batch, loop: int | None = None) -> np.ndarray:
    """The model's own answers, int32[B, A], padded with 0 beyond each document's answer length.

    Everything before `spans["answer"]` is the prompt; each answer token is the most likely one
    after the prompt and the tokens generated so far. `loop` reads the head after that loop
    (default: the last).
    """
    from models.decoding.generation import Sampling

    return sampled_answers(model, batch, Sampling(), loop=loop)[:, 0]


def sampled_answers(
    model: "LoopedModel",
    batch: Batch,
    sampling: "Sampling",
    rng: np.random.Generator | None = None,
    loop: int | None = None,
) -> np.ndarray:
    """Sampled answers int32[B, S, A], padded with 0, of every question.

    Where the answer is written after intermediate results, they are the model's own as well.
    Every token is computed anew from the document so far: no cache whose strategy would count.

    Args:
        rng: needed at a temperature above 0.
    """
    import torch

    from models.decoding.generation import choose

    device, S = next(model.parameters()).device, sampling.samples
    start, stop = torch.from_numpy(batch.spans["answer"]).long().T.to(device)
    tokens = torch.from_numpy(batch.tokens).long().to(device)
    columns = torch.arange(tokens.shape[1], device=device)
    tokens = torch.where(columns < start[:, None], tokens, 0)  # nothing of the answer is seen
    longest = int((stop - start).max())
    generated = torch.zeros(len(tokens) * S, longest, dtype=torch.int32, device=device)
    for step in range(longest):
        at = (start + step).clamp(max=tokens.shape[1] - 1)
        rows = torch.arange(len(tokens), device=device)
        with torch.no_grad():
            outputs = model(tokens[:, : int(at.max())], n_loops=loop)
            logits = outputs.logits(at=(rows, at - 1))
        if step == 0:  # until now the samples of a question are the same
            tokens, start, stop, at, logits = (
                x.repeat_interleave(S, 0) for x in (tokens, start, stop, at, logits)
            )
            rows = torch.arange(len(tokens), device=device)
        uniform = None if rng is None else torch.from_numpy(rng.random(len(rows))).to(device)
        unfinished = start + step < stop
        chosen = torch.where(unfinished, choose(logits, sampling, uniform), 0)
        generated[:, step] = chosen.int()
        tokens[rows, at] = torch.where(unfinished, chosen, tokens[rows, at])
    return generated.view(-1, S, longest).cpu().numpy()


def right_answers(subject: Subject, batch: Batch, loop: int | None = None) -> np.ndarray:
    """bool[B]: which questions greedy decoding answers rightly, in parts that a pass can take."""
    parts = ((part, greedy_answers(subject.model, part, loop)) for part in chunks(batch))
    return np.concatenate([subject.task.is_correct(*part) for part in parts])


class Accuracy(Probe):
    """Share of right answers per split and difficulty, with a Wilson interval over items.

    The floor is the task's highest one: what can be reached without the ability.
    """

    version: ClassVar[int] = 1
    needs: ClassVar[str] = "questions with an answer"

    kind: Literal["accuracy"] = "accuracy"
    items: int = Field(2048, ge=1, description="most documents per split and difficulty")
    splits: tuple[str, ...] | None = Field(None, description="None: all of the task's")
    difficulties: tuple[int, ...] | None = Field(None, description="None: all of each split's")
    loops: Literal["last", "all"] = Field("last", description="loops at which the head is read")

    @classmethod
    def applies(cls, task: Task) -> bool:
        return asks(task)

    def misfits(self, task: Task) -> Iterator[tuple[str, str]]:
        wrong = [message for split in self.splits or () if (message := refused(task, split))]
        yield from (("splits", message) for message in wrong)
        if wrong or self.difficulties is None:
            return
        splits, known = self.splits or task.splits, task.difficulties
        for difficulty in self.difficulties:
            if difficulty not in known:
                names = ", ".join(map(str, known)) or "none"
                yield "difficulties", f"{task.kind} has no difficulty {difficulty}; it has {names}"
        if not any(self._difficulties(task, split) for split in splits):
            asked = ", ".join(map(str, self.difficulties))
            yield "difficulties", f"{', '.join(splits)} of {task.kind} has none of {asked}"

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """One `accuracy` per split, difficulty and loop.

        Raises:
            ValueError: a split or difficulty that the task lacks.
        """
        rows = []
        self.check(subject.task)
        for split in self.splits or subject.task.splits:
            for difficulty in self._difficulties(subject.task, split):
                batch = questions(subject.task, subject.seed, split, difficulty, self.items)
                last = subject.model.config.loops
                for loop in range(1, last + 1) if self.loops == "all" else (last,):
                    rows.append(self._row(subject, batch, split, difficulty, loop))
        return tuple(rows)

    def _difficulties(self, task: Task, split: str) -> tuple[int | None, ...]:
        known = task.difficulties_of(split)
        if self.difficulties is None:
            return known or (None,)
        return tuple(d for d in self.difficulties if d in known)

    def _row(
        self, subject: Subject, batch: Batch, split: str, difficulty: int | None, loop: int
    ) -> Measurement:
        right = right_answers(subject, batch, loop)
        low, high = wilson_interval(int(right.sum()), len(right))
        return Measurement(
            metric="accuracy",
            value=float(right.mean()),
            n_items=len(right),
            split=split,
            difficulty=difficulty,
            loop=loop,
            floor=floor_of(subject.task, difficulty, split),
            ceiling=1.0,
            low=low,
            high=high,
        )
