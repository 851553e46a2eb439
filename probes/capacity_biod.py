"""Bits per parameter of bioD (Physics of Language Models 3.3, 2404.05405, definition 4.1).

    R = [ N·log2(N0 / e^p1) + N·K·log2(D^C / e^p2) + K·D·log2(T^L / (D·e^p3)) ] / P

N people, N0 possible names, K attributes, C chunks of D different strings of L out of T letters,
P parameters. In nats: p1 is the mean NLL of the name, p2 that of a value, over people and
attributes, p3 that of a value's first chunk. R_max puts p1 = ln N and p2 = p3 = 0.

A model that knows every attribute's strings and nothing about people has p2 = C·ln D and
p3 = ln D: no bits for values, and K·D·log2(T^L/D²) for the strings. Nothing is clipped.
"""

from math import log, log2
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from generators.biod import BioD
from generators.streams import Stream, generator
from generators.task import Batch, Task
from probes.capacity import bootstrap_means
from probes.memory import Stored, bits_rows, nll_row, token_nll
from probes.probe import Measurement, Probe, Subject

ITEMS = ("name", "value", "strings")


class CapacityBioD(Probe):
    """Bits stored about a bioD world: of names, values, the attributes' strings, in total.

    Metrics as of the capacity probe; `nll_nats` of `strings` is p3. Intervals are 95 %
    percentile bootstraps over people.
    """

    version: ClassVar[int] = 1

    kind: Literal["capacity_biod"] = "capacity_biod"
    people: int | None = Field(None, ge=1, description="people scored; None: everyone")
    loops: Literal["last", "all"] = Field("last", description="whose heads are read")
    resamples: int = Field(1000, ge=100, description="of the bootstrap")
    batch: int = Field(512, ge=1, description="documents in one forward pass")

    @classmethod
    def applies(cls, task: Task) -> bool:
        return isinstance(task, BioD)

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """Measurements by loop, then metric and item.

        Raises:
            ValueError: the task is not bioD.
        """
        task = subject.task
        if not isinstance(task, BioD):
            raise ValueError(f"the capacity_biod probe needs a task of kind biod, got {task.kind}")
        rows: list[Measurement] = []
        for loop, nll in self._nll(subject, task).items():
            rng = generator(subject.seed, Stream.PROBE, 1)  # the same resamples for every loop
            resampled = bootstrap_means(nll, rng, self.resamples)
            means = np.stack([nll.mean(0), *np.quantile(resampled, [0.025, 0.975], axis=0)])
            for item, (value, low, high) in zip(ITEMS, means.T.tolist(), strict=True):
                rows.append(nll_row(item, (value, low, high), len(nll), loop))
            stored = stored_about(task, nll.mean(0), resampled)
            rows += bits_rows(stored, len(nll), subject.parameters["total"], loop)
        return tuple(rows)

    def _nll(self, subject: Subject, task: BioD) -> dict[int, np.ndarray]:
        """loop -> float64[n, 3]: of each person the terms of p1, p2 and p3."""
        people = np.arange(task.people)
        if self.people is not None and self.people < task.people:
            rng = generator(subject.seed, Stream.PROBE)
            people = np.sort(rng.choice(task.people, self.people, replace=False))
        rng = generator(subject.seed, Stream.EVALUATION)
        batches = [
            task.write(rng, people[i : i + self.batch]) for i in range(0, len(people), self.batch)
        ]
        found: dict[int, list[np.ndarray]] = {}
        scored = zip(batches, token_nll(subject, batches, self.loops), strict=True)
        for batch, nll in scored:
            for loop, tokens in nll.items():
                found.setdefault(loop, []).append(item_nll(task, batch, tokens))
        return {loop: np.concatenate(parts) for loop, parts in found.items()}


def item_nll(task: BioD, batch: Batch, tokens: np.ndarray) -> np.ndarray:
    """float64[n, 3] from the NLL of every token: of the name, a value, its first chunk."""
    starts = np.stack([batch.spans[f"a{k}"][:, 0] for k in range(task.attributes)], axis=1)
    columns = starts[:, :, None] + np.arange(task.value_length)  # [n, K, C·L]
    values = tokens[np.arange(len(tokens))[:, None, None], columns]
    name = tokens[:, 1 : 1 + task.name_length].sum(1)
    value, first = values.sum(2).mean(1), values[:, :, : task.length].sum(2).mean(1)
    return np.stack([name, value, first], axis=1)


def stored_about(task: BioD, means: np.ndarray, resampled: np.ndarray) -> dict[str, Stored]:
    """Item -> bits, from (p1, p2, p3) and bootstrap resamples of them float64[r, 3]."""
    N, K, C, D = task.people, task.attributes, task.chunks, task.diversity
    times = np.array([N, N * K, K * D])
    known = [N * log2(task.names), N * K * C * log2(D), task.set_bits]
    best = [N * (log2(task.names) - log2(N)), known[1], known[2]]

    def bits(p: np.ndarray) -> np.ndarray:
        parts = np.array(known) - times * p / log(2)
        return np.concatenate([parts, parts.sum(-1, keepdims=True)], axis=-1)

    low, high = np.quantile(bits(resampled), [0.025, 0.975], axis=0)
    ceilings = [*best, sum(best)]
    numbers = zip((*ITEMS, "total"), bits(means), low, high, ceilings, strict=True)
    return {i: Stored((float(v), float(a), float(b)), c) for i, v, a, b, c in numbers}
