"""Questions of another task, answered several times in a row: what does an answer fed back add?

Legend: B documents, T tokens, K tries.
"""

from functools import cached_property
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.multihop import MultiHop
from generators.plugins import OpenUnion
from generators.streams import Stream, generator
from generators.support.question_layout import ANSWER, RESULT, result_is_right
from generators.task import Batch, Task
from generators.vocabulary import Vocabulary


class Retry(Task):
    """Each question is answered `tries` times, each try after those before it; the last counts.

    A model that is right more often at a later try has computed with its own answer, one pass
    more for each. In training a try before the last is right in a share `right` of the documents
    and otherwise the answer to another question of the batch, so that trusting it is not enough;
    right tries are scored and wrong ones are not. When the model is asked, it writes all tries.

    >>> task = Retry(tries=3).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 3, 2]), 3, difficulty=2)
    >>> for tokens, scored in zip(batch.tokens, batch.loss_mask):
    ...     print(task.vocabulary.decode(tokens), scored.astype(int))
    <2> e31 r8 r8 e11 e24 e24 [0 0 0 0 0 1 1 0]
    <2> e14 r14 r14 e27 e27 e27 [0 0 0 0 1 1 1 0]
    <2> e1 r8 r2 e27 e24 e11 [0 0 0 0 0 0 1 0]

    Beside k independent samples (2107.03374) and written steps it is a control for loops: a pass
    more that sees the answer of the pass before. Worlds, splits, difficulties and floors are
    those of the questions.
    """

    version: ClassVar[int] = 1

    kind: Literal["retry"] = "retry"
    task: Annotated[Task, OpenUnion(Task, "generators", but=("mixture", "retry"))] = Field(
        default_factory=MultiHop, description="the questions, whose answers are single tokens"
    )
    tries: int = Field(4, ge=2, le=64, description="K, answers to every question")
    right: float = Field(0.5, ge=0, le=1, description="share of right earlier tries in training")

    @model_validator(mode="after")
    def _single_answers(self) -> Self:
        if self.task.items_per_exposure is not None:
            raise ValueError(f"task {self.task.kind} counts exposures; retry asks questions anew")
        batch = self.task.sketch().bind(0).sample(generator(0, Stream.PROBE), 64)
        if ANSWER not in batch.spans:
            raise ValueError(f"task {self.task.kind} asks no questions that could be tried again")
        start, stop = batch.spans[ANSWER].T
        if (longest := int((stop - start).max())) > 1:
            raise ValueError(
                f"answers of task {self.task.kind} have up to {longest} tokens; those that are "
                "tried again have one (and no chain of thought)"
            )
        if (batch.tokens * (np.arange(batch.tokens.shape[1]) >= stop[:, None])).any():
            raise ValueError(
                f"documents of task {self.task.kind} go on behind an answer; a question that is "
                "tried again ends its document"
            )
        return self

    @cached_property
    def asked(self) -> Task:
        """The questions, bound to the seed and the world of this task."""
        task = self.task
        if self.world_seed is not None and task.world_seed is None:
            task = task.model_copy(update={"world_seed": self.world_seed})
        return task.bind(self.seed, component=self.component)

    @property
    def splits(self) -> tuple[str, ...]:  # pyrefly: ignore[bad-override]
        return self.task.splits

    @property
    def vocabulary(self) -> Vocabulary:
        return self.asked.vocabulary

    @property
    def vocabulary_size(self) -> int:
        return self.task.vocabulary_size

    @property
    def occurring(self) -> np.ndarray:
        return self.asked.occurring

    def sketch(self) -> Task:
        small = self.task.sketch()
        return self if small is self.task else self.with_fields(task=small.model_dump())

    @property
    def world_bytes(self) -> int:
        return self.task.world_bytes

    @property
    def context_length(self) -> int:
        return self.asked.context_length + self.tries - 1

    @property
    def difficulties(self) -> tuple[int, ...]:
        return self.asked.difficulties

    def difficulties_of(self, split: str) -> tuple[int, ...]:
        return self.asked.difficulties_of(split)

    def count(self, split: str, difficulty: int) -> int | None:
        return self.asked.count(split, difficulty)

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        return self.asked.floors(difficulty, split)

    def oracle_floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        return self.asked.oracle_floors(difficulty, split)

    def caveats(self) -> tuple[str, ...]:
        return self.task.caveats()

    def information_bits(self) -> float | None:
        return self.asked.information_bits()

    def sample(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        split: str = "train",
        difficulty: int | None = None,
        index: int | None = None,
    ) -> Batch:
        batch = self.asked.sample(rng, n, split=split, difficulty=difficulty, index=index)
        start = batch.spans[ANSWER][:, 0].astype(np.int64)
        answer = batch.tokens[np.arange(n), start]
        tries = np.repeat(answer[:, None], self.tries, axis=1)
        if split == "train":
            wrong = rng.random((n, self.tries - 1)) >= self.right
            others = answer[rng.integers(0, n, wrong.shape)]
            tries[:, :-1] = np.where(wrong, others, tries[:, :-1])
        tokens = np.zeros((n, batch.tokens.shape[1] + self.tries - 1), np.int32)
        tokens[:, : batch.tokens.shape[1]] = batch.tokens
        loss_mask = np.zeros(tokens.shape, bool)
        at = start[:, None] + np.arange(self.tries)
        np.put_along_axis(tokens, at, tries, axis=1)
        np.put_along_axis(loss_mask, at, tries == answer[:, None], axis=1)
        stop = (start + self.tries).astype(np.int32)
        spans = {
            **batch.spans,
            ANSWER: np.stack([start.astype(np.int32), stop], axis=1),
            RESULT: np.stack([stop - 1, stop], axis=1),
        }
        return Batch(tokens, loss_mask, spans, batch.latents, batch.difficulty)

    def is_correct(self, batch: Batch, generated: np.ndarray) -> np.ndarray:
        """Whether the last try is right."""
        return result_is_right(batch, generated)
