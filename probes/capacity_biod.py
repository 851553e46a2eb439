"""Bits per parameter of bioD (Physics of Language Models 3.3, 2404.05405, definition 4.1).

    R = [ N·log2(N0 / e^p1) + N·K·log2(D^C / e^p2) + K·D·log2(T^L / (D·e^p3)) ] / P

N people, N0 possible names, K attributes, C chunks of D different strings of L out of T letters,
P parameters. In nats: p1 is the mean NLL of the name, p2 that of a value, over people and
attributes, p3 that of a value's first chunk. R_max puts p1 = ln N and p2 = p3 = 0.

A model that knows every attribute's strings and nothing about people has p2 = C·ln D and
p3 = ln D: no bits for values, and K·D·log2(T^L/D²) for the strings. Nothing is clipped.

The third term is about which strings an attribute has. The definition means D far below T^L and
N ≥ D·log N. Where D = T^L every string is one of the attribute's: there is nothing to know, and the
term would be -K·D·p3/ln 2, a second charge for values that are not known. It is left out there.
"""

from math import log, log2
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from generators.biod import BioD
from generators.task import Batch, Task
from probes.stored_bits import Scored, StoredBits


class World(Scored):
    """Names, values, the attributes' strings, and all in `total`; columns are p1, p2 and p3."""

    def __init__(self, task: BioD) -> None:
        self.task, self.count = task, task.people
        N, K, C, D = task.people, task.attributes, task.chunks, task.diversity
        certain = task.alphabet**task.length == D
        strings = 0 if certain else K * D
        self.times = np.array([N, N * K, strings])
        self.known = np.array([N * log2(task.names), N * K * C * log2(D), task.set_bits])
        self.nll_floors = {"name": log(task.names), "value": C * log(D), "strings": None}
        best = {
            "name": N * (log2(task.names) - log2(N)),
            "value": N * K * C * log2(D),
            "strings": task.set_bits,
        }
        self.ceilings = {**best, "total": sum(best.values())}

    def write(self, rng: np.random.Generator, which: np.ndarray) -> Batch:
        return self.task.write(rng, which)

    def columns(self, batch: Batch) -> np.ndarray:
        """Columns of the name, then of every value, attribute by attribute."""
        task, n = self.task, len(batch)
        starts = np.stack([batch.spans[f"a{k}"][:, 0] for k in range(task.attributes)], axis=1)
        values = starts[:, :, None] + np.arange(task.value_length)  # [n, K, C·L]
        name = np.broadcast_to(1 + np.arange(task.name_length), (n, task.name_length))
        return np.concatenate([name, values.reshape(n, -1)], axis=1).astype(np.int64)

    def of_each(self, nll: np.ndarray) -> np.ndarray:
        """NLL in nats of the name, of a value and of its first chunk, float64[n, 3]."""
        task = self.task
        name, values = np.split(nll, [task.name_length], axis=1)
        values = values.reshape(len(nll), task.attributes, task.value_length)
        first = values[:, :, : task.length].sum(2).mean(1)
        return np.stack([name.sum(1), values.sum(2).mean(1), first], axis=1)

    def bits(self, means: np.ndarray) -> np.ndarray:
        parts = self.known - self.times * means / log(2)
        return np.concatenate([parts, parts.sum(-1, keepdims=True)], axis=-1)


class CapacityBioD(StoredBits):
    """Bits stored about a bioD world: of names, values, the attributes' strings, in total.

    `nll_nats` of `strings` is p3.
    """

    #: 1 charged for strings where there is nothing to know, 2 counted rows that do not occur
    version: ClassVar[int] = 3

    needs: ClassVar[str] = "facts of kind biod"

    kind: Literal["capacity_biod"] = "capacity_biod"
    people: int | None = Field(None, ge=1, description="people scored; None: everyone")

    @classmethod
    def applies(cls, task: Task) -> bool:
        return isinstance(task, BioD)

    def scored(self, task: Task) -> World:
        if not isinstance(task, BioD):
            raise ValueError(f"the capacity_biod probe needs a task of kind biod, got {task.kind}")
        return World(task)

    @property
    def limit(self) -> int | None:
        return self.people
