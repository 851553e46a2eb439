"""Bits per parameter of biographies (Physics of Language Models 3.3, 2404.05405, def. 4.3).

    R = [ N·log2(N0 / e^p1) + N·log2(S0 / e^p2) ] / P

N people, N0 possible names, S0 possible sets of values, P parameters; p1 is the mean over people
of the NLL of the name, p2 that of the values together, in nats, each summed over its tokens.
R_max puts p1 = ln N (which names exist, not whose turn it is) and p2 = 0.

What keeps the number honest: the name comes before every value and the employer before its city,
which is a function of it and not counted; the text before a value decides which attribute comes;
gender counts at its first pronoun, between the two pronouns of that form. Nothing is clipped.

Legend: B documents, M scored positions of a document, I items, V vocabulary.
"""

from dataclasses import dataclass
from math import log, log2
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from generators.biographies import Biographies
from generators.streams import Stream, generator
from generators.task import Batch, Task
from probes.probe import Measurement, Probe, Subject

if TYPE_CHECKING:
    from torch import Tensor

    from models.outputs import LoopOutputs


def stored_bits(nll: np.ndarray, pool_bits: float, people: int) -> np.ndarray:
    """Bits stored about all people from mean NLLs of one item, in nats (any shape).

    N·log2(pool / e^nll): 0 where the model only knows the pool, negative where it does not even
    know that.
    """
    return people * (pool_bits - np.asarray(nll) / log(2))


@dataclass(frozen=True)
class Items:
    """What is scored: `name`, every independent value, then their sums `value` and `total`.

    Attributes:
        pool_bits: item -> log2 of the number of possibilities for one person.
        people: N.
    """

    pool_bits: dict[str, float]
    people: int

    @classmethod
    def of(cls, task: Biographies) -> "Items":
        values = task.value_bits
        sums = {"value": task.log2_values, "total": task.log2_names + task.log2_values}
        return cls({"name": task.log2_names, **values, **sums}, task.people)

    def with_sums(self, nll: np.ndarray) -> np.ndarray:
        """Appends `value` and `total` to the NLLs [..., name and values] of the last axis."""
        value, total = nll[..., 1:].sum(-1), nll.sum(-1)
        return np.concatenate([nll, value[..., None], total[..., None]], axis=-1)

    def ceiling(self, item: str) -> float:
        """Bits about all people that a perfect memory stores."""
        chosen = log2(self.people) if item in ("name", "total") else 0.0
        return self.people * (self.pool_bits[item] - chosen)


def bootstrap_means(values: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Means over people of resampled values [n, I] -> float64[resamples, I]."""
    n = len(values)
    means = np.empty((resamples, values.shape[1]))
    for r in range(resamples):
        means[r] = np.bincount(rng.integers(0, n, n), minlength=n) @ values / n
    return means


class Capacity(Probe):
    """Bits stored about the people of a biography task, in total and per parameter.

    Metrics for each item: `nll_nats` (mean over people), `bits` (about all N people),
    `bits_per_parameter` and `capacity_ratio` (share of the ceiling). Intervals are 95 %
    percentile bootstraps over people.
    """

    version: ClassVar[int] = 1

    kind: Literal["capacity"] = "capacity"
    people: int | None = Field(None, ge=1, description="people scored; None: everyone")
    loops: Literal["last", "all"] = Field("last", description="whose heads are read")
    resamples: int = Field(1000, ge=100, description="of the bootstrap")
    batch: int = Field(512, ge=1, description="documents in one forward pass")

    @classmethod
    def applies(cls, task: Task) -> bool:
        return isinstance(task, Biographies)

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """Measurements by loop, then item, then metric.

        Raises:
            ValueError: the task is not about biographies.
        """
        task = subject.task
        if not isinstance(task, Biographies):
            raise ValueError(f"the capacity probe needs a task of kind bios, got {task.kind}")
        items = Items.of(task)
        found: list[Measurement] = []
        for loop, nll in self._nll(subject, task).items():
            nll = items.with_sums(nll)
            rng = generator(subject.seed, Stream.PROBE, 1)  # the same resamples for every loop
            resampled = bootstrap_means(nll, rng, self.resamples)
            interval = np.quantile(resampled, [0.025, 0.975], axis=0)
            found += measurements(items, nll, interval, subject.parameters["total"], loop)
        return tuple(found)

    def _people(self, subject: Subject, task: Biographies) -> np.ndarray:
        """int64[n], the people scored, each once."""
        if self.people is None or self.people >= task.people:
            return np.arange(task.people)
        rng = generator(subject.seed, Stream.PROBE)
        return np.sort(rng.choice(task.people, self.people, replace=False))

    def _nll(self, subject: Subject, task: Biographies) -> dict[int, np.ndarray]:
        """loop -> NLLs in nats, float64[n, I], of name and values of the people scored."""
        import torch

        people = self._people(subject, task)
        rng = generator(subject.seed, Stream.EVALUATION)
        partner = torch.from_numpy(other_pronoun(task)).to(subject.device)
        found: dict[int, list[np.ndarray]] = {}
        for first in range(0, len(people), self.batch):
            batch = task.write(rng, people[first : first + self.batch], employer_first=True)
            tokens = torch.from_numpy(batch.tokens).long().to(subject.device)
            with torch.no_grad():
                outputs = subject.model(tokens)
                n = outputs.n_loops
                for loop in range(1 if self.loops == "all" else n, n + 1):
                    nll = item_nll(outputs, loop, tokens, batch, tuple(task.value_bits), partner)
                    found.setdefault(loop, []).append(nll.double().cpu().numpy())
        return {loop: np.concatenate(parts) for loop, parts in found.items()}


def other_pronoun(task: Biographies) -> np.ndarray:
    """int64[V]: for a pronoun the other one of its form (he, she), 0 for every other token."""
    partner = np.zeros(len(task.vocabulary), np.int64)
    for pair in task.pronouns.values():
        ids = task.vocabulary.ids(pair)
        partner[ids] = ids[::-1]
    return partner


def item_nll(
    outputs: "LoopOutputs",
    loop: int,
    tokens: "Tensor",
    batch: Batch,
    values: tuple[str, ...],
    partner: "Tensor",
) -> "Tensor":
    """NLL in nats [B, 1 + values] of the name and each value, summed over its tokens.

    A pronoun competes only with its `partner` (int64[V], 0 for other tokens): that a pronoun of
    this form comes is grammar.
    """
    import torch

    spans = [batch.spans[item] for item in ("name", *values)]
    lengths = [int(span[0, 1] - span[0, 0]) for span in spans]
    columns = torch.from_numpy(
        np.concatenate(
            [span[:, :1] + np.arange(n) for span, n in zip(spans, lengths, strict=True)], axis=1
        )
    ).to(tokens)  # [B, M]
    B, M = columns.shape
    rows = torch.arange(B, device=tokens.device).repeat_interleave(M)
    logits = outputs.logits(loop, (rows, columns.flatten() - 1)).float()  # [B·M, V]
    target = tokens[rows, columns.flatten()]
    other = partner[target]
    score = logits.gather(1, target[:, None]).squeeze(1)
    pair = torch.logaddexp(score, logits.gather(1, other[:, None]).squeeze(1))
    nll = torch.where(other > 0, pair, logits.logsumexp(1)) - score
    return torch.stack([part.sum(1) for part in nll.view(B, M).split(lengths, dim=1)], dim=1)


def measurements(
    items: Items, nll: np.ndarray, interval: np.ndarray, parameters: int, loop: int
) -> list[Measurement]:
    """All metrics of one loop.

    Args:
        nll: float64[n, I], nats of each person scored, in the order of `items`.
        interval: float64[2, I], lower and upper end for the mean of `nll`.
    """
    found = []
    for i, (item, pool_bits) in enumerate(items.pool_bits.items()):
        nats = np.array([nll[:, i].mean(), *interval[:, i]])  # value, low, high
        bits = stored_bits(nats, pool_bits, items.people)[[0, 2, 1]]  # more nats are fewer bits
        ceiling = items.ceiling(item)
        found.append(_row("nll_nats", nats, len(nll), item, loop, pool_bits * log(2), None))
        units = {"bits": 1, "bits_per_parameter": parameters, "capacity_ratio": ceiling}
        for metric, unit in units.items():
            if unit > 0:  # the ceiling of the names is 0 where all of them are taken
                best = ceiling / unit
                found.append(_row(metric, bits / unit, len(nll), item, loop, 0.0, best))
    return found


def _row(
    metric: str,
    numbers: np.ndarray,
    n_items: int,
    item: str,
    loop: int,
    floor: float,
    ceiling: float | None,
) -> Measurement:
    value, low, high = map(float, numbers)
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
