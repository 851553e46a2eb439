"""What the probes of stored bits share: NLLs of documents of one length, and their rows.

Legend: n documents, T tokens.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from generators.task import Batch
from probes.probe import Measurement, Subject

#: value, lower and upper end of its interval
Interval = tuple[float, float, float]


def token_nll(
    subject: Subject, batches: Iterable[Batch], loops: Literal["last", "all"]
) -> Iterator[dict[int, np.ndarray]]:
    """For each batch: loop -> NLL of every token in nats, float64[n, T], 0 for the first."""
    import torch

    for batch in batches:
        tokens = torch.from_numpy(batch.tokens).long().to(subject.device)
        found = {}
        with torch.no_grad():
            outputs = subject.model(tokens)
            last = outputs.n_loops
            for loop in range(1 if loops == "all" else last, last + 1):
                scores = outputs.logits(loop)[:, :-1].float()
                right = scores.gather(2, tokens[:, 1:, None]).squeeze(2)
                nll = (scores.logsumexp(2) - right).double().cpu().numpy()
                found[loop] = np.pad(nll, ((0, 0), (1, 0)))
        yield found


@dataclass(frozen=True)
class Stored:
    """Bits of one item: those measured, and those that a perfect memory stores."""

    bits: Interval
    ceiling: float


def bits_rows(
    stored: dict[str, Stored], n_items: int, parameters: int, loop: int
) -> list[Measurement]:
    """`bits`, `bits_per_parameter` and `capacity_ratio` (share of the ceiling) of each item."""
    rows = []
    for item, found in stored.items():
        units = {"bits": 1, "bits_per_parameter": parameters, "capacity_ratio": found.ceiling}
        for metric, unit in units.items():
            if unit > 0:  # nothing to store: no ratio
                value, low, high = (bits / unit for bits in found.bits)
                rows.append(
                    Measurement(
                        metric=metric,
                        value=value,
                        n_items=n_items,
                        split="train",
                        item=item,
                        loop=loop,
                        floor=0.0,
                        ceiling=found.ceiling / unit,
                        low=low,
                        high=high,
                    )
                )
    return rows


def nll_row(item: str, nats: Interval, n_items: int, loop: int) -> Measurement:
    """Mean NLL of an item, in nats."""
    value, low, high = nats
    return Measurement(
        metric="nll_nats",
        value=value,
        n_items=n_items,
        split="train",
        item=item,
        loop=loop,
        low=low,
        high=high,
    )
