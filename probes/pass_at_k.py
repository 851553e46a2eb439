"""Manipulation accuracy when a model may try several times: pass@1, pass@k, majority vote.

pass@k is the probability that at least one of k samples is right. From n ≥ k samples of which c
are right, 1 - C(n-c, k) / C(n, k) estimates it without bias (2107.03374, eq. 1). The vote is of
all n samples (self-consistency, 2203.11171).

Legend: B documents, S samples of each, A tokens of the longest answer, W tokens voted on.
"""

from math import comb
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.streams import Stream, generator
from generators.task import Batch
from probes.accuracy import sampled_answers
from probes.probe import Measurement, Subject
from probes.questions import CHUNK, QuestionProbe, final_span, floor_of
from probes.statistics import wilson_interval


def pass_at_k(right: np.ndarray, samples: int, k: int) -> np.ndarray:
    """Unbiased estimates float64[B] of pass@k from the right ones among `samples`, int[B].

    Raises:
        ValueError: fewer samples than k.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {max(k, 1)} samples and k ≥ 1, got {samples}")
    every = comb(samples, k)
    table = [1 - comb(samples - c, k) / every for c in range(samples + 1)]
    return np.array(table)[right]


def votes_of(batch: Batch, answers: np.ndarray) -> np.ndarray:
    """The votes int32[B, S, W] of answers int32[B, S, A]: the results without their chains.

    Votes are padded with 0. Where nothing is written before the result, the answer is the vote.
    """
    start, stop = batch.spans[final_span(batch)].T
    skipped = start - batch.spans["answer"][:, 0]
    columns = np.arange((stop - start).max(initial=1))
    at = np.minimum(skipped[:, None] + columns, answers.shape[2] - 1)
    inside = columns < (stop - start)[:, None]
    votes = np.take_along_axis(answers, at[:, None], axis=2)
    return np.where(inside[:, None], votes, 0)


def most_voted(votes: np.ndarray) -> np.ndarray:
    """The first sample with the commonest vote (votes int[B, S, W]), int64[B].

    Among equally common votes the one drawn first wins, which favours none.
    """
    same = (votes[:, :, None] == votes[:, None]).all(-1)  # [B, S, S]
    return same.sum(-1).argmax(1)


class PassAtK(QuestionProbe):
    """Right answers among several samples of every question, per difficulty.

    Rows: `pass_at_1`, … for each k, and `majority_vote`; `item` names temperature and samples.
    Floors: who reaches at most f without the ability, however many ways of guessing are mixed,
    passes at most 1 - (1 - f)^k of the time in k tries. Intervals are Wilson's over questions,
    conservative for pass@k, an average of estimates.
    """

    version: ClassVar[int] = 1

    kind: Literal["pass_at_k"] = "pass_at_k"
    samples: int = Field(16, ge=1, description="n, answers to every question")
    k: tuple[int, ...] = Field((1, 4, 16), min_length=1, description="of pass@k")
    temperature: float = Field(
        1.0, gt=0, description="logits are divided by it before samples are drawn"
    )
    top_p: float = Field(1.0, gt=0, le=1, description="samples from the likeliest tokens alone")
    loops: Literal["last", "all"] = Field("last", description="loops at which the head is read")

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if wrong := [k for k in self.k if not 1 <= k <= self.samples]:
            raise ValueError(
                f"k {', '.join(map(str, wrong))} has to lie between 1 and samples, "
                f"{self.samples}; raise samples or change k"
            )
        return self

    @property
    def item(self) -> str:
        """The sampling settings, such as `temperature 1, 16 samples`."""
        top = "" if self.top_p == 1 else f", top p {self.top_p:g}"
        return f"temperature {self.temperature:g}{top}, {self.samples} samples"

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """Measurements by difficulty, loop and metric.

        Raises:
            ValueError: a split or difficulty that the task lacks.
        """
        last = subject.model.config.loops
        loops = range(1, last + 1) if self.loops == "all" else (last,)
        return tuple(
            row
            for difficulty, batch in self.batches(subject)
            for loop in loops
            for row in self._rows(subject, batch, difficulty, loop)
        )

    def _rows(
        self, subject: Subject, batch: Batch, difficulty: int | None, loop: int
    ) -> list[Measurement]:
        right, voted = self._right(subject, batch, difficulty, loop)
        values = {f"pass_at_{k}": pass_at_k(right.sum(1), self.samples, k) for k in self.k}
        tries = dict(zip(values, self.k, strict=True))
        floor = floor_of(subject.task, difficulty, self.split)
        rows = []
        for metric, value in {**values, "majority_vote": voted}.items():
            low, high = wilson_interval(float(value.sum()), len(value))
            rows.append(
                Measurement(
                    metric=metric,
                    value=float(value.mean()),
                    n_items=len(value),
                    split=self.split,
                    item=self.item,
                    difficulty=difficulty,
                    loop=loop,
                    floor=None if floor is None else 1 - (1 - floor) ** tries.get(metric, 1),
                    ceiling=1.0,
                    low=low,
                    high=high,
                )
            )
        return rows

    def _right(
        self, subject: Subject, batch: Batch, difficulty: int | None, loop: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Whether each sample is right, bool[B, S], and whether the vote is, bool[B]."""
        from models.decoding.generation import Sampling

        sampling = Sampling(temperature=self.temperature, top_p=self.top_p, samples=self.samples)
        rng = generator(subject.seed, Stream.PROBE, 1 + 1000 * loop + (difficulty or 0))
        at_once = max(1, CHUNK // self.samples)
        found, voted = [], []
        for first in range(0, len(batch), at_once):
            part = batch.rows(np.arange(first, min(first + at_once, len(batch))))
            answers = sampled_answers(subject.model, part, sampling, rng, loop)
            every = part.rows(np.repeat(np.arange(len(part)), self.samples))
            flat = answers.reshape(len(every), -1)
            right = subject.task.is_correct(every, flat).reshape(len(part), self.samples)
            found.append(right)
            voted.append(right[np.arange(len(part)), most_voted(votes_of(part, answers))])
        return np.concatenate(found), np.concatenate(voted)
