"""Bits per parameter of random sequences, by two published definitions on one model.

`total` is the bits of Physics of Language Models 3.3 (2404.05405), for which a sequence is a
name: N·log2(V^S / e^p), p the mean NLL in nats; a perfect memory reaches N·log2(V^S / N). It is
also the fall in entropy that 2506.18233 measures, times the number of tokens.

`memorised` follows Morris et al. (2505.24832): what the model saves on each sequence against the
uniform law that drew it, Σ max(0, S·log2 V - NLL / ln 2). A sequence that the model makes longer
is coded without the model, so this is never negative; both agree where no sequence is.
"""

from math import log
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from generators.random_sequences import RandomSequences
from generators.task import Batch, Task
from probes.stored_bits import Scored, StoredBits


class Sequences(Scored):
    """`total` and `memorised`; columns are the NLL, the bits saved, and those where positive."""

    def __init__(self, task: RandomSequences) -> None:
        self.task, self.count = task, task.sequences
        self.nll_floors = {"total": task.sequence_bits * log(2)}
        self.ceilings = {
            "total": task.information_bits(),
            "memorised": task.sequences * task.sequence_bits,
        }

    def write(self, rng: np.random.Generator, which: np.ndarray) -> Batch:
        return self.task.write(which)

    def columns(self, batch: Batch) -> np.ndarray:
        n, length = len(batch), self.task.length
        return np.broadcast_to(np.arange(1, 1 + length), (n, length))

    def of_each(self, nll: np.ndarray) -> np.ndarray:
        nats = nll.sum(1)
        saved = self.task.sequence_bits - nats / log(2)
        return np.stack([nats, saved, np.maximum(saved, 0)], axis=1)

    def bits(self, means: np.ndarray) -> np.ndarray:
        return self.count * means[..., 1:]


class CapacitySequences(StoredBits):
    """Bits memorised of random sequences, as `total` and as `memorised`."""

    version: ClassVar[int] = 2  # version 1 counted rows that do not occur among the parameters

    needs: ClassVar[str] = "sequences of kind random_sequences"

    kind: Literal["capacity_sequences"] = "capacity_sequences"
    sequences: int | None = Field(None, ge=1, description="sequences scored; None: every one")

    @classmethod
    def applies(cls, task: Task) -> bool:
        return isinstance(task, RandomSequences)

    def scored(self, task: Task) -> Sequences:
        if not isinstance(task, RandomSequences):
            raise ValueError(
                f"the capacity_sequences probe needs a task of kind random_sequences, "
                f"got {task.kind}"
            )
        return Sequences(task)

    @property
    def limit(self) -> int | None:
        return self.sequences
