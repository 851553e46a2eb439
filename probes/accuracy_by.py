"""Accuracy by a property of the question that its difficulty does not tell.

A formula of three operators may be two or three deep; whether depth or the number of operators
orders what a model gets right says what a loop works out. Documents name such properties in
their latents.

Legend: B documents.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from generators.task import Batch, Task
from probes.accuracy import right_answers
from probes.probe import Measurement, Subject
from probes.questions import QuestionProbe, final_span, floor_of, lacks, named, refused
from probes.statistics import wilson_interval

#: most values of a latent among the few documents that are looked at before anything is measured
MOST = 32


class AccuracyBy(QuestionProbe):
    """`accuracy` of the last loop for each value of a latent, by difficulty.

    `item` names latent and value: `depth 2`. Questions without the property, which have a value
    below 0, are left out. The floor is the task's for the difficulty or the share of the
    commonest answer among the questions of the value, whichever is higher.
    """

    version: ClassVar[int] = 1

    kind: Literal["accuracy_by"] = "accuracy_by"
    items: int = Field(2048, ge=1, description="most documents per difficulty")
    latent: str = Field(description="name of the property among the latents of the documents")

    def misfits(self, task: Task) -> Iterator[tuple[str, str]]:
        yield from super().misfits(task)
        if refused(task, self.split):
            return
        latents = named(task, self.split).latents
        if self.latent not in latents:
            yield "latent", lacks(task, "latent", self.latent, list(latents))
        elif (n := len(np.unique(latents[self.latent]))) > MOST:
            yield (
                "latent",
                f"{self.latent} of {task.kind} has {n} values among a few documents; accuracy by "
                "each needs a latent that takes few values",
            )

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """One `accuracy` per difficulty and value of the latent.

        Raises:
            ValueError: a split, difficulty or latent that the task lacks, or too many values.
        """
        rows = []
        for difficulty, batch in self.batches(subject):
            right = right_answers(subject, batch)
            floor = floor_of(subject.task, difficulty, self.split) or 0.0
            value = batch.latents[self.latent]
            for one in np.unique(value[value >= 0]).tolist():
                there = value == one
                low, high = wilson_interval(int(right[there].sum()), int(there.sum()))
                rows.append(
                    Measurement(
                        metric="accuracy",
                        value=float(right[there].mean()),
                        n_items=int(there.sum()),
                        split=self.split,
                        item=f"{self.latent} {one}",
                        difficulty=difficulty,
                        floor=max(floor, commonest_share(batch.rows(there))),
                        ceiling=1.0,
                        low=low,
                        high=high,
                    )
                )
        return tuple(rows)


def commonest_share(batch: Batch) -> float:
    """Share of the documents whose final answer begins with the commonest first token."""
    first = batch.tokens[np.arange(len(batch)), batch.spans[final_span(batch)][:, 0]]
    return float(np.unique(first, return_counts=True)[1].max() / len(batch))
