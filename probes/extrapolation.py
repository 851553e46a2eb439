"""Accuracy at fewer and at more loops than a model was trained with.

Legend: B documents, N loop counts.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from probes.accuracy import right_answers
from probes.probe import Measurement, Subject
from probes.questions import QuestionProbe, floor_of
from probes.statistics import wilson_interval

if TYPE_CHECKING:
    from models.interface import LoopedModel


def loop_limit(model: "LoopedModel") -> int | None:
    """The most loops a model can run: the rows of a learned loop embedding, else None."""
    return getattr(model.config, "loop_limit", None)


def limit_row(limit: int, split: str) -> Measurement:
    """The row that says that fewer loops were run than were asked for, and why."""
    item = "rows of the learned loop embedding"
    return Measurement("loop_limit", float(limit), 0, split=split, item=item)


class Extrapolation(QuestionProbe):
    """Greedy accuracy when exactly n loops are run, from one to `factor` times those trained.

    Per difficulty: `loops_accuracy` for every n (in `loop`). `best_loops`: the smallest n of the
    highest accuracy. `fewest_loops` and `most_loops`: the smallest and the largest n whose
    accuracy is at most `tolerance` below the highest, whatever lies between. What is lost against
    the highest accuracy, with the n in `loop`: `under_looping_loss` at the fewest loops run,
    `trained_loss` at those trained, `over_looping_loss` at the most loops run. The highest
    accuracy is chosen on the same documents, so that noise makes every loss a little too large.

    A model that has an end to its loops is run up to it, and `loop_limit` says so.
    """

    version: ClassVar[int] = 1

    kind: Literal["extrapolation"] = "extrapolation"
    factor: float = Field(4.0, ge=1, description="times the loops trained")
    counts: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        None, min_length=1, description="loops to run; None: 1 to factor"
    )
    tolerance: float = Field(0.02, ge=0, lt=1, description="of accuracies that count as best")

    @property
    def fewest_loops(self) -> tuple[str, int] | None:
        return ("counts", min(self.counts)) if self.counts else None

    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """Measurements by difficulty, after `loop_limit` if the model has one.

        Raises:
            ValueError: a split or difficulty that the task lacks, or no count that can be run.
        """
        trained, limit = subject.model.config.loops, loop_limit(subject.model)
        asked = self.counts or range(1, int(self.factor * trained) + 1)
        counts = sorted({n for n in asked if limit is None or n <= limit})
        if not counts or counts[0] < 1:
            raise ValueError(f"counts {list(asked)} must be 1 or more, and some at most {limit}")
        rows = [limit_row(limit, self.split)] if limit and limit < max(asked) else []
        for difficulty, batch in self.batches(subject):
            right = np.stack([right_answers(subject, batch, n) for n in counts])
            floor = floor_of(subject.task, difficulty, self.split)
            rows += self._rows(right, counts, trained, difficulty, floor)
        return tuple(rows)

    def _rows(
        self,
        right: np.ndarray,
        counts: list[int],
        trained: int,
        difficulty: int | None,
        floor: float | None,
    ) -> list[Measurement]:
        """Measurements of one difficulty from right answers bool[N, B]."""
        n, where = right.shape[1], {"split": self.split, "difficulty": difficulty}
        accuracy = right.mean(1)
        rows = []
        for count, hits in zip(counts, right.sum(1), strict=True):
            low, high = wilson_interval(int(hits), n)
            bounds = {"floor": floor, "ceiling": 1.0, "low": low, "high": high}
            rows.append(
                Measurement("loops_accuracy", float(hits / n), n, loop=count, **bounds, **where)
            )
        best = accuracy.max()
        within = [c for c, a in zip(counts, accuracy, strict=True) if a >= best - self.tolerance]
        found = {
            "best_loops": counts[int(accuracy.argmax())],
            "fewest_loops": within[0],
            "most_loops": within[-1],
        }
        for metric, value in found.items():
            ends = {"floor": float(counts[0]), "ceiling": float(counts[-1])}
            rows.append(Measurement(metric, float(value), n, **ends, **where))
        losses = {"under": counts[0], "trained": trained, "over": counts[-1]}
        for name, count in losses.items():
            if count in counts:
                metric = "trained_loss" if name == "trained" else f"{name}_looping_loss"
                loss = float(best - accuracy[counts.index(count)])
                rows.append(Measurement(metric, loss, n, loop=count, floor=0.0, **where))
        return rows
