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
from generators.streams import Stream, generator
from generators.task import Task
from probes.capacity import bootstrap_means
from probes.memory import Stored, bits_rows, nll_row, token_nll
from probes.probe import Measurement, Probe, Subject


class CapacitySequences(Probe):
    """Bits memorised of random sequences, as `total` and as `memorised`.

    Metrics as of the capacity probe. Intervals are 95 % percentile bootstraps over sequences.
    """

    version: ClassVar[int] = 1

    kind: Literal["capacity_sequences"] = "capacity_sequences"
    sequences: int | None = Field(None, ge=1, description="sequences scored; None: every one")
    loops: Literal["last", "all"] = Field("last", description="whose heads are read")
    resamples: int = Field(1000, ge=100, description="of the bootstrap")
    batch: int = Field(512, ge=1, description="documents in one forward pass")

    @classmethod
    def applies(cls, task: Task) -> bool:
        return isinstance(task, RandomSequences)

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """Measurements by loop, then metric and item.

        Raises:
            ValueError: the task is not random sequences.
        """
        task = subject.task
        if not isinstance(task, RandomSequences):
            raise ValueError(
                f"the capacity_sequences probe needs a task of kind random_sequences, "
                f"got {task.kind}"
            )
        rows: list[Measurement] = []
        for loop, nll in self._nll(subject, task).items():
            saved = task.sequence_bits - nll / log(2)
            each = np.stack([nll, saved, np.maximum(saved, 0)], axis=1)
            rng = generator(subject.seed, Stream.PROBE, 1)  # the same resamples for every loop
            resampled = bootstrap_means(each, rng, self.resamples)
            low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
            mean = each.mean(0)
            N = task.sequences
            ceilings = {"total": task.information_bits(), "memorised": N * task.sequence_bits}
            rows.append(
                nll_row("total", (float(mean[0]), float(low[0]), float(high[0])), len(nll), loop)
            )
            stored = {
                item: Stored((float(N * mean[i]), float(N * low[i]), float(N * high[i])), ceiling)
                for i, (item, ceiling) in enumerate(ceilings.items(), 1)
            }
            rows += bits_rows(stored, len(nll), subject.parameters["total"], loop)
        return tuple(rows)

    def _nll(self, subject: Subject, task: RandomSequences) -> dict[int, np.ndarray]:
        """loop -> NLL of each sequence scored, float64[n], in nats."""
        which = np.arange(task.sequences)
        if self.sequences is not None and self.sequences < task.sequences:
            rng = generator(subject.seed, Stream.PROBE)
            which = np.sort(rng.choice(task.sequences, self.sequences, replace=False))
        batches = (task.write(which[i : i + self.batch]) for i in range(0, len(which), self.batch))
        found: dict[int, list[np.ndarray]] = {}
        for nll in token_nll(subject, batches, self.loops):
            for loop, tokens in nll.items():
                found.setdefault(loop, []).append(tokens.sum(1))
        return {loop: np.concatenate(parts) for loop, parts in found.items()}
