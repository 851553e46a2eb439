"""Shared parts of the probes of stored bits: NLLs of the stored things, intervals, rows.

A probe of this kind says what is stored (`Scored`); `StoredBits` reads the model, resamples and
writes the measurements.

Legend: n things scored (people, sequences), M scored tokens of a document, J columns, I items,
V vocabulary.
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from generators.streams import Stream, generator
from generators.task import Batch, Task
from probes.probe import Measurement, Probe, Subject

if TYPE_CHECKING:
    from torch import Tensor

    from models.outputs import LoopOutputs

#: value, lower and upper end of its interval
Interval = tuple[float, float, float]


class Scored(ABC):
    """N stored things, how they are written, and what an NLL says about them.

    Attributes:
        count: N.
        nll_floors: item -> mean NLL in nats of a guess from the right pool, None where it is not
            told. Its items are the first columns.
        ceilings: item -> bits about all N things that a perfect memory stores.
        partner: int[V], the only token that competes with this one; 0: the whole vocabulary.
    """

    count: int
    nll_floors: dict[str, float | None]
    ceilings: dict[str, float]
    partner: np.ndarray | None = None

    @abstractmethod
    def write(self, rng: np.random.Generator, which: np.ndarray) -> Batch:
        """A document about each of the things numbered int64[n]."""

    @abstractmethod
    def columns(self, batch: Batch) -> np.ndarray:
        """The columns of each document's scored tokens, int64[n, M]."""

    @abstractmethod
    def of_each(self, nll: np.ndarray) -> np.ndarray:
        """The J columns of each thing, float64[n, J], from its tokens' NLLs, float64[n, M]."""

    @abstractmethod
    def bits(self, means: np.ndarray) -> np.ndarray:
        """Bits about all N things, [..., I] as in `ceilings`, from column means [..., J]."""


class StoredBits(Probe):
    """Bits stored by every item of a `Scored`.

    Metrics: `nll_nats` (mean), `bits` (about everything stored), `bits_per_parameter` (which counts
    the `counted_parameters`, of all that the ceiling says) and `capacity_ratio` (share of the
    ceiling); after rounding the weights to 8 bits the same with
    `_int8` at the end (`models.conversion.rounding`). Floors are 0 bits: what is known of the
    pools.
    Intervals are 95 % percentile bootstraps over the things that are stored.
    """

    loops: Literal["last", "all"] = Field("last", description="whose heads are read")
    resamples: int = Field(1000, ge=100, description="of the bootstrap")
    batch: int = Field(512, ge=1, description="documents in one forward pass")
    bits: tuple[Annotated[int, Field(ge=2, le=16)], ...] = Field(
        (), description="measure again with weights rounded to so many bits each, such as [8, 4]"
    )

    @abstractmethod
    def scored(self, task: Task) -> Scored:
        """The stored things of a bound task.

        Raises:
            ValueError: the probe does not apply to the task.
        """

    @property
    @abstractmethod
    def limit(self) -> int | None:
        """The most things to score, None for all."""

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """Measurements by rounding, loop, metric and item.

        Raises:
            ValueError: the probe does not apply to the task.
        """
        from models.conversion.rounding import rounded_weights

        scored = self.scored(subject.task)
        rows = self._rows(subject, scored)
        for bits in self.bits:
            with rounded_weights(subject.model, bits):
                rows += [
                    replace(row, metric=f"{row.metric}_int{bits}")
                    for row in self._rows(subject, scored)
                ]
        counted, every = subject.counted_parameters, subject.parameters["total"]
        rows.append(
            Measurement("counted_parameters", counted, scored.count, split="train", ceiling=every)
        )
        return tuple(rows)

    def _rows(self, subject: Subject, scored: Scored) -> list[Measurement]:
        rows: list[Measurement] = []
        parameters = subject.counted_parameters
        for loop, each in self._each(subject, scored).items():
            rng = generator(subject.seed, Stream.PROBE, 1)  # the same resamples for every loop
            resampled = bootstrap_means(each, rng, self.resamples)
            nats = intervals(each.mean(0), resampled)
            bits = intervals(scored.bits(each.mean(0)), scored.bits(resampled))
            for (item, floor), value in zip(scored.nll_floors.items(), nats, strict=False):
                rows.append(_row("nll_nats", value, len(each), item, loop, floor, None))
            for (item, ceiling), value in zip(scored.ceilings.items(), bits, strict=True):
                rows += bits_rows(item, value, ceiling, len(each), parameters, loop)
        return rows

    def _which(self, subject: Subject, count: int) -> np.ndarray:
        """The numbers of the scored things, int64[n], each once."""
        if self.limit is None or self.limit >= count:
            return np.arange(count)
        rng = generator(subject.seed, Stream.PROBE)
        return np.sort(rng.choice(count, self.limit, replace=False))

    def _each(self, subject: Subject, scored: Scored) -> dict[int, np.ndarray]:
        """loop -> float64[n, J] of every thing scored."""
        import torch

        which = self._which(subject, scored.count)
        rng = generator(subject.seed, Stream.EVALUATION)
        found: dict[int, list[np.ndarray]] = {}
        for first in range(0, len(which), self.batch):
            batch = scored.write(rng, which[first : first + self.batch])
            columns = scored.columns(batch)
            tokens = torch.from_numpy(batch.tokens).long().to(subject.device)
            with torch.no_grad():
                outputs = subject.model(tokens)
                n = outputs.n_loops
                for loop in range(1 if self.loops == "all" else n, n + 1):
                    nll = token_nll(outputs, loop, tokens, columns, scored.partner)
                    found.setdefault(loop, []).append(scored.of_each(nll))
        return {loop: np.concatenate(parts) for loop, parts in found.items()}


def token_nll(
    outputs: "LoopOutputs",
    loop: int,
    tokens: "Tensor",
    columns: np.ndarray,
    partner: np.ndarray | None = None,
) -> np.ndarray:
    """NLL in nats, float64[n, M], of the tokens in the columns int64[n, M] of each document.

    Args:
        partner: int[V], the only token that competes with this one; 0: the whole vocabulary.
    """
    import torch

    n, M = columns.shape
    column = torch.tensor(columns, device=tokens.device).flatten()
    rows = torch.arange(n, device=tokens.device).repeat_interleave(M)
    logits = outputs.logits(loop, (rows, column - 1)).float()  # [n·M, V]
    target = tokens[rows, column]
    score = logits.gather(1, target[:, None]).squeeze(1)
    against = logits.logsumexp(1)
    if partner is not None:
        other = torch.tensor(partner, device=tokens.device)[target]
        pair = torch.logaddexp(score, logits.gather(1, other[:, None]).squeeze(1))
        against = torch.where(other > 0, pair, against)
    return (against - score).view(n, M).double().cpu().numpy()


def bootstrap_means(values: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Means of resampled rows of values [n, J] -> float64[resamples, J]."""
    n = len(values)
    means = np.empty((resamples, values.shape[1]))
    for r in range(resamples):
        means[r] = np.bincount(rng.integers(0, n, n), minlength=n) @ values / n
    return means


def intervals(value: np.ndarray, resampled: np.ndarray) -> list[Interval]:
    """95 % percentile intervals of values [J] from resamples of them [r, J]."""
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    return [(float(v), float(a), float(b)) for v, a, b in zip(value, low, high, strict=True)]


def bits_rows(
    item: str, bits: Interval, ceiling: float, n_items: int, parameters: int, loop: int
) -> list[Measurement]:
    """`bits`, `bits_per_parameter` and `capacity_ratio` (share of the ceiling) of an item.

    Where there is nothing to store, such as names that are all taken, there is no ratio.
    """
    units = {"bits": 1, "bits_per_parameter": parameters, "capacity_ratio": ceiling}
    rows = []
    for metric, unit in units.items():
        if unit > 0:
            value, low, high = (b / unit for b in bits)
            rows.append(_row(metric, (value, low, high), n_items, item, loop, 0.0, ceiling / unit))
    return rows


def _row(
    metric: str,
    numbers: Interval,
    n_items: int,
    item: str,
    loop: int,
    floor: float | None,
    ceiling: float | None,
) -> Measurement:
    value, low, high = numbers
    return Measurement(
        metric=metric,
        value=value,
        n_items=n_items,
        split="train",
        item=item,
        loop=loop,
        floor=floor,
        ceiling=ceiling,
        low=low,
        high=high,
    )
