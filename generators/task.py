"""The contract between data and everything else: `Task` and `Batch`.

A task is a frozen configuration that builds its own world. `task.bind(seed)` gives the task its
run seed; after that `sample` is a pure function of its arguments. Adding a task is adding one
file to this package (or pointing `kind: path/to/file.py:ClassName` at one).

Legend: B documents in a batch.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from generators.batch import Batch, stacked
from generators.streams import Stream, generator
from generators.support.weights import check_weights, shares_of
from generators.vocabulary import Vocabulary


class Task(BaseModel, ABC):
    """The base of all tasks. Its fields define the data: they enter the run id, with `version`.

    A subclass declares `kind: Literal["its-name"] = "its-name"` and raises `version` whenever
    the data it makes for the same fields and seed change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    version: ClassVar[int] = 1
    #: splits that `sample` knows; memorisation tasks have only "train"
    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test")
    #: what a difficulty counts, for tables and figures: "hops"
    difficulty_name: ClassVar[str] = "difficulty"

    kind: str
    world_seed: int | None = Field(
        default=None, ge=0, description="pins the world; None: the run's seed draws it"
    )
    _seed: int = PrivateAttr(default=0)
    _component: int = PrivateAttr(default=0)
    #: (first document, weights) of each phase of training, None where no phase weighs anything
    _phases: tuple[tuple[int, dict[str, float] | None], ...] = PrivateAttr(default=())

    def bind(self, seed: int, *, component: int = 0) -> Self:
        """The same task with its run seed, nothing cached from another world.

        `component` is its number in a mixture: the world stays the same, the order changes.
        """
        task = type(self).model_validate(self.model_dump())
        task._seed, task._component = seed, component
        return task

    @property
    def seed(self) -> int:
        """The run seed (order of documents); 0 before `bind`."""
        return self._seed

    @property
    def component(self) -> int:
        """Number of this task in a mixture, 0 outside of one."""
        return self._component

    def world_generator(self, step: int = 0) -> np.random.Generator:
        """The generator that draws the hidden facts; `step` separates what is drawn apart."""
        seed = self._seed if self.world_seed is None else self.world_seed
        return generator(seed, Stream.WORLD, step)

    @property
    @abstractmethod
    def vocabulary(self) -> Vocabulary:
        """All tokens that can occur."""

    @property
    @abstractmethod
    def context_length(self) -> int:
        """Tokens of the longest document."""

    @property
    def vocabulary_size(self) -> int:
        """Tokens there are, `<pad>` included; without making them where they may be many."""
        return len(self.vocabulary)

    @property
    def occurring(self) -> np.ndarray:
        """bool[V]: tokens that documents of this world can have; `<pad>` is none. Default: all."""
        return np.arange(len(self.vocabulary)) > 0

    def sketch(self) -> "Task":
        """A task whose documents look like those of this one, in a world made in no time.

        Splits, difficulties, spans, latents and, by their distribution, lengths and masks are the
        same; facts and vocabulary are not. Itself where worlds are small. A class from elsewhere
        inherits neither this nor `vocabulary_size` and `occurring`: it may write other documents.
        """
        return self

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("sketch", "vocabulary_size", "occurring"):
            if cls.__module__.partition(".")[0] != __package__ and name not in vars(cls):
                setattr(cls, name, vars(Task)[name])

    def with_fields(self, **fields: Any) -> Self:
        """The same task, checked anew, with other fields and without what it had built."""
        return type(self).model_validate(self.model_dump() | fields)

    @property
    def world_bytes(self) -> int:
        """Bytes of memory that world and vocabulary need at their peak, from the fields alone.

        Floors included, to within a factor of two; 0 where they are small whatever the fields say.
        """
        return sum(part.world_bytes for part in self.parts.values() if part is not self)

    @property
    def difficulties(self) -> tuple[int, ...]:
        """Difficulties that `sample` accepts; empty where there are none."""
        return ()

    def difficulties_of(self, split: str) -> tuple[int, ...]:
        """Difficulties of a split, where some have nothing held out."""
        return self.difficulties

    def count(self, split: str, difficulty: int) -> int | None:
        """Distinct documents of a split and difficulty, None where documents are drawn afresh."""
        return None

    @property
    def items_per_exposure(self) -> int | None:
        """Documents in one exposure of everything stored (N people), None for online tasks."""
        return None

    @property
    def parts(self) -> dict[str, "Task"]:
        """Name -> task, of a mixture; any other task is its own only part, without a name."""
        return {"": self}

    @property
    def counted(self) -> str | None:
        """The part by which exposures are counted, None where no part has exposures."""
        return None if self.items_per_exposure is None else ""

    def documents_by_part(self, documents: int) -> dict[str, int]:
        """Documents of each part among the first `documents` of training."""
        return {"": documents}

    def documents_of(self, exposures: int) -> int:
        """Training documents that make so many exposures of everything stored.

        Raises:
            ValueError: the task has no exposures.
        """
        if self.items_per_exposure is None:
            raise ValueError("this task has no exposures; use until_step")
        return exposures * self.items_per_exposure

    @property
    def weighable(self) -> tuple[str, ...]:
        """What a phase of training can give weights to: the difficulties that training has.

        A mixture has components instead. Nothing where training counts exposures, which show
        everybody equally often.
        """
        if self.items_per_exposure is not None:
            return ()
        return tuple(map(str, self.difficulties_of("train")))

    def weighted(self, first_document: int, weights: dict[str, float] | None) -> Self:
        """This task with other weights for the training documents from `first_document` on.

        Args:
            weights: of `weighable`, 0 for those left out; None: those of the task itself. What
                was said of later documents is forgotten.

        Raises:
            ValueError: the task has nothing of such a name, or the weights cannot be.
        """
        if weights is None and not self._phases:
            return self
        if weights is not None:
            check_weights(self.kind, weights, self.weighable)
        task = self.model_copy()
        task._phases = (
            *(phase for phase in self._phases if phase[0] < first_document),
            (first_document, weights),
        )
        return task

    def weights_at(self, document: int) -> dict[str, float] | None:
        """The weights of the phase that a training document belongs to."""
        return next((w for first, w in reversed(self._phases) if first <= document), None)

    def training_batch(self, rng: np.random.Generator, n: int, index: int) -> Batch:
        """n documents of training from number `index` on, by the weights of their phase.

        Without weights they are those of `sample`. With weights of difficulties each document is
        one of `sample` of a difficulty that is drawn in these shares; easier ones come first.
        """
        weights = self.weights_at(index)
        if weights is None:
            return self.sample(rng, n, index=index)
        counts = rng.multinomial(n, shares_of(weights, self.weighable)).tolist()
        difficulties = map(int, self.weighable)
        drawn = [(d, m) for d, m in zip(difficulties, counts, strict=True) if m]
        return stacked([self.sample(rng, m, difficulty=d) for d, m in drawn])

    @abstractmethod
    def sample(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        split: str = "train",
        difficulty: int | None = None,
        index: int | None = None,
    ) -> Batch:
        """n documents of a split.

        Args:
            rng: source of everything random in these documents.
            difficulty: one of `difficulties`; None draws as in training.
            index: running number of the first document, for tasks with exposures: document i
                shows person `permutation[i // N][i % N]`, so each epoch shows everyone once.
                None draws people uniformly.

        Raises:
            ValueError: unknown split or difficulty (both named, with what exists).
        """

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """Accuracies reached without the ability, by name, from the actual world.

        The floor of a held-out split is what its training questions allow to a model that
        memorised them all and knows their symmetries.
        """
        return {}

    def oracle_floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """Guesses that need the held-out answers too, which no model can learn; {}: none."""
        return {}

    def caveats(self) -> tuple[str, ...]:
        """Sentences about settings with which what is measured means less than it seems to."""
        return ()

    def information_bits(self) -> float | None:
        """Bits that the training data hold about the world, None where nothing is stored."""
        return None

    def is_correct(self, batch: Batch, generated: np.ndarray) -> np.ndarray:
        """bool[B]: whether the generated answers are right.

        `generated` is int32[B, A], A the longest answer, padded with 0 beyond each answer; tokens
        of other parts of a mixture are from `len(vocabulary)` on. The default is exact match with
        the tokens of `spans["answer"]`.
        """
        start, stop = batch.spans["answer"].T
        columns = np.arange(generated.shape[1])
        positions = np.minimum(start[:, None] + columns, batch.tokens.shape[1] - 1)
        wanted = np.take_along_axis(batch.tokens, positions, axis=1)
        inside = columns < (stop - start)[:, None]
        return np.all((generated == wanted) | ~inside, axis=1)

    def check_arguments(self, split: str, difficulty: int | None) -> None:
        """Raises ValueError for a split or difficulty that this task lacks."""
        if split not in self.splits:
            raise ValueError(f"{self.kind} has no split {split!r}; it has {', '.join(self.splits)}")
        if difficulty is not None and difficulty not in self.difficulties_of(split):
            known = ", ".join(map(str, self.difficulties_of(split))) or "none"
            raise ValueError(
                f"{self.kind} has no difficulty {difficulty} in its {split} split; it has {known}"
            )
