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

from math import log, log2
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from generators.biographies import Biographies
from generators.support.people import NAME
from generators.task import Batch, Task
from generators.templates import DATE
from probes.stored_bits import Scored, StoredBits


def stored_bits(nll: np.ndarray, pool_bits: float | np.ndarray, people: int) -> np.ndarray:
    """Bits stored about all people from mean NLLs of one item, in nats (any shape).

    N·log2(pool / e^nll): 0 where the model only knows the pool, negative where it does not even
    know that.
    """
    return people * (pool_bits - np.asarray(nll) / log(2))


def biographies_in(task: Task) -> Biographies | None:
    """The biographies that a task trains on: itself, or those beside its questions.

    A task of questions offers them as `text`, whose vocabulary begins its own.
    """
    text = task if isinstance(task, Biographies) else getattr(task, "text", None)
    return text if isinstance(text, Biographies) else None


class People(Scored):
    """Everyone's name, every independent value, then their sums `value` and `total`."""

    def __init__(self, task: Biographies) -> None:
        self.task, self.count = task, task.people
        values = task.value_bits
        sums = {"value": task.log2_values, "total": task.log2_names + task.log2_values}
        self.pool_bits = {"name": task.log2_names, **values, **sums}
        self.nll_floors = {item: bits * log(2) for item, bits in self.pool_bits.items()}
        chosen = log2(task.people)  # which names there are is known, not whose turn it is
        self.ceilings = {
            item: task.people * (bits - (chosen if item in ("name", "total") else 0.0))
            for item, bits in self.pool_bits.items()
        }
        self.partner = other_pronoun(task)
        self.lengths = {"name": len(NAME), **dict.fromkeys(values, 1), "birth_date": len(DATE)}

    def write(self, rng: np.random.Generator, which: np.ndarray) -> Batch:
        return self.task.write(rng, which, employer_first=True)

    def columns(self, batch: Batch) -> np.ndarray:
        return np.concatenate(
            [batch.spans[item][:, :1] + np.arange(n) for item, n in self.lengths.items()], axis=1
        ).astype(np.int64)

    def of_each(self, nll: np.ndarray) -> np.ndarray:
        """NLL in nats, float64[n, I]; a pronoun competes with the other of its form alone."""
        ends = np.cumsum(list(self.lengths.values()))[:-1]
        items = np.stack([part.sum(1) for part in np.split(nll, ends, axis=1)], axis=1)
        return np.column_stack([items, items[:, 1:].sum(1), items.sum(1)])

    def bits(self, means: np.ndarray) -> np.ndarray:
        return stored_bits(means, np.array(list(self.pool_bits.values())), self.count)


class Capacity(StoredBits):
    """Bits stored about the people of biographies, in total, by item and per parameter."""

    version: ClassVar[int] = 2  # version 1 counted rows that do not occur among the parameters

    needs: ClassVar[str] = "biographies (bios, extraction, operations) with the name first"

    kind: Literal["capacity"] = "capacity"
    people: int | None = Field(None, ge=1, description="people scored; None: everyone")

    @classmethod
    def applies(cls, task: Task) -> bool:
        """Biographies with the name first, alone or mixed with questions about them."""
        text = biographies_in(task)
        return text is not None and not text.name_last

    def scored(self, task: Task) -> People:
        text = biographies_in(task)
        if text is None:
            raise ValueError(
                f"the capacity probe needs a task of kind bios or questions about biographies, "
                f"got {task.kind}"
            )
        if text.name_last:
            raise ValueError(
                "the capacity probe needs the name before the values; with name_last the values "
                "are told of nobody in particular"
            )
        return People(text)

    @property
    def limit(self) -> int | None:
        return self.people


def other_pronoun(task: Biographies) -> np.ndarray:
    """int64[V]: for a pronoun the other one of its form (he, she), 0 for every other token."""
    partner = np.zeros(len(task.vocabulary), np.int64)
    for pair in task.pronouns.values():
        ids = task.vocabulary.ids(pair)
        partner[ids] = ids[::-1]
    return partner
