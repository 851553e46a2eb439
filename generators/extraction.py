"""Questions about remembered biographies (Physics of Language Models 3.1, 2309.14316).

Legend: B documents, N people, A = 6 attributes (in the order of `ATTRIBUTES`).
"""

from fractions import Fraction
from functools import cached_property
from math import ceil
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from generators.biographies import NAME, VALUE_ROLES, Biographies
from generators.pieces import Piece, share_of_most_frequent, stacked, write_question
from generators.streams import Stream, generator
from generators.task import Batch, Task
from generators.templates import ATTRIBUTES, DATE
from generators.vocabulary import BOS, Vocabulary

#: words before and after the name, one token each
QUESTIONS = {
    "birth_date": ("When was", "born ? Answer:"),
    "birth_city": ("In which city was", "born ? Answer:"),
    "university": ("Which university did", "attend ? Answer:"),
    "major": ("Which subject did", "major in ? Answer:"),
    "employer": ("Which company employed", "? Answer:"),
    "company_city": ("In which city did", "work ? Answer:"),
}


class Extraction(Task):
    """Biographies mixed with questions about some of the people; can the others be asked about?

    The biographies of all N people are in training, and six questions about each of a share
    `trained` of them. Validation and test ask about the others, half each. A share `qa_ratio` of
    the training documents are questions, of which only the answer is scored.

    >>> task = Extraction().bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 4, 0]), 1, split="test", difficulty=1)
    >>> print(task.vocabulary.decode(batch.tokens[0])); print(batch.loss_mask[0].astype(int))
    <bos> When was Mary Richard Huang born ? Answer: April 27 1974
    [0 0 0 0 0 0 0 0 0 1 1 1]

    Difficulty is the attribute, 1 to 6; biographies have 0. In the paper the ratio counts tokens,
    half of the people are asked about, and mixed training learns to answer about the others; so
    does fine-tuning if the biographies came in several texts each (`biographies.versions`).
    Raise `version` with that of `Biographies`.
    """

    version: ClassVar[int] = 1
    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test")
    difficulty_name: ClassVar[str] = "attribute"

    kind: Literal["extraction"] = "extraction"
    biographies: Biographies = Field(default_factory=Biographies)
    qa_ratio: float = Field(0.5, gt=0, lt=1, description="share of documents that are questions")
    trained: float = Field(0.5, gt=0, lt=1, description="share of people asked about in training")
    _last_order: tuple[int, np.ndarray] = PrivateAttr(default=(-1, np.zeros(0, np.int64)))

    @model_validator(mode="after")
    def _somebody_in_every_split(self) -> Self:
        people, trained = self.biographies.people, self._stops[0]
        if trained < 1 or people - trained < 2:
            raise ValueError(
                f"trained {self.trained} of {people} people asks about {trained} in training and "
                f"leaves {people - trained}; 1 and 2 are needed: change trained or "
                "biographies.people"
            )
        return self

    @property
    def _stops(self) -> tuple[int, int, int]:
        """Ends of the people of training, validation and test; people are in random order."""
        n = self.biographies.people
        trained = round(self.trained * n)
        return trained, trained + (n - trained) // 2, n

    def people_of(self, split: str) -> range:
        """Numbers of the people whom a split asks about."""
        i = self.splits.index(split)
        return range((0, *self._stops)[i], self._stops[i])

    @cached_property
    def text(self) -> Biographies:
        """The biographies of this world."""
        fields = {} if self.world_seed is None else {"world_seed": self.world_seed}
        return self.biographies.model_copy(update=fields).bind(self.seed, component=self.component)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        words = [word for parts in QUESTIONS.values() for part in parts for word in part.split()]
        return Vocabulary.build([*self.text.vocabulary.tokens[1:], *words])

    @property
    def world_bytes(self) -> int:
        return self.biographies.world_bytes

    @property
    def context_length(self) -> int:
        """Of the longest biography; every question is shorter."""
        return self.text.context_length

    @property
    def difficulties(self) -> tuple[int, ...]:
        """Attributes, in the order of `ATTRIBUTES` from 1."""
        return tuple(range(1, len(ATTRIBUTES) + 1))

    def count(self, split: str, difficulty: int) -> int:
        """One question of each attribute about each of the split's people."""
        return len(self.people_of(split))

    @property
    def _ratio(self) -> Fraction:
        return Fraction(self.qa_ratio).limit_denominator(1000)

    @property
    def items_per_exposure(self) -> int:
        """Documents in which every biography comes once: N / (1 - qa_ratio), rounded up."""
        return ceil(self.biographies.people / (1 - self._ratio))

    def information_bits(self) -> float:
        """Those of the biographies: questions ask for nothing else."""
        return self.text.information_bits()

    def sample(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        split: str = "train",
        difficulty: int | None = None,
        index: int | None = None,
    ) -> Batch:
        self.check_arguments(split, difficulty)
        if split == "train" and difficulty is None:
            return self._training(rng, n, index)
        people = self.people_of(split)
        asked = rng.choice(people, n, replace=n > len(people))
        if difficulty is None:
            return self.ask(asked, rng.integers(0, len(ATTRIBUTES), n))
        return self.ask(asked, np.full(n, difficulty - 1))

    def _training(self, rng: np.random.Generator, n: int, index: int | None) -> Batch:
        """Biographies, then questions; each kind counts its own exposures."""
        every = len(ATTRIBUTES) * self._stops[0]
        if index is None:
            first, asked = None, int(rng.binomial(n, self.qa_ratio))
            questions = rng.integers(0, every, asked)
        else:
            first = index - int(index * self._ratio)
            before, after = int(index * self._ratio), int((index + n) * self._ratio)
            asked, questions = after - before, self._asked(before, after)
        told = self.text.sample(rng, n - asked, index=first) if n > asked else None
        answers = self.ask(questions // len(ATTRIBUTES), questions % len(ATTRIBUTES))
        return stacked([answers] if told is None else [told, answers])

    def _asked(self, first: int, last: int) -> np.ndarray:
        """int64[n], questions first … last-1 of training; each comes once per epoch."""
        every = len(ATTRIBUTES) * self._stops[0]
        epochs = range(first // every, -(-last // every))
        order = [self._question_order(epoch) for epoch in epochs]
        start = first - first // every * every
        return np.concatenate([np.zeros(0, np.int64), *order])[start : start + last - first]

    def _question_order(self, epoch: int) -> np.ndarray:
        """The order of the biographies is that of component 0, so that of questions is another."""
        if self._last_order[0] != epoch:
            rng = generator(self.seed, Stream.ORDER, epoch, component=self.component + 1)
            every = len(ATTRIBUTES) * self._stops[0]
            self._last_order = (epoch, rng.permutation(every))
        return self._last_order[1]

    def ask(self, people: np.ndarray, attribute: np.ndarray) -> Batch:
        """The question for each person and attribute, int[B] each."""
        B = len(people)
        names, answers = self._tokens["name"][people], self._tokens["values"][people, attribute]
        pieces: list[Piece] = [
            ("", np.full((B, 1), self.vocabulary.id(BOS), np.int32)),
            ("", self._question_tokens[0][attribute]),
            ("name", names),
            ("", self._question_tokens[1][attribute]),
            ("result", answers),
        ]
        batch = write_question(pieces, {"person": people, "attribute": attribute}, attribute + 1)
        del batch.spans["result"]  # the same as `answer`
        return batch

    @cached_property
    def _question_tokens(self) -> tuple[np.ndarray, np.ndarray]:
        """Words before and after the name by attribute, int32[A, W] each, 0 beyond the last."""
        found = []
        for part in (0, 1):
            words = [QUESTIONS[attribute][part].split() for attribute in ATTRIBUTES]
            table = np.zeros((len(words), max(map(len, words))), np.int32)
            for a, row in enumerate(words):
                table[a, : len(row)] = self.vocabulary.ids(row)
            found.append(table)
        return found[0], found[1]

    @cached_property
    def _tokens(self) -> dict[str, np.ndarray]:
        """Of each person: `name` int32[N, 3]; `values` int32[N, A, 3], 0 beyond one token."""
        v, world, pools = self.vocabulary, self.text.world, self.text.values

        def ids(role: str, index: np.ndarray) -> np.ndarray:
            return v.ids([f"{role}:{entry}" for entry in getattr(pools, role)])[index]

        names = [ids(role, world.names[:, i]) for i, role in enumerate(NAME)]
        values = np.zeros((len(world), len(ATTRIBUTES), len(DATE)), np.int32)
        dates = ("day", "month", "year") if self.biographies.reversed_date else DATE
        for i, role in enumerate(dates):
            values[:, 0, i] = ids(role, world.dates[:, DATE.index(role)])
        for a, attribute in enumerate(ATTRIBUTES[1:], 1):
            values[:, a, 0] = ids(VALUE_ROLES[attribute], world.facts[attribute])
        return {"name": np.stack(names, axis=1), "values": values}

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """What a constant answer reaches; without a difficulty the mean over the attributes.

        `majority`: the most frequent value among the people of the split; `pool`: among all.
        """
        self.check_arguments(split, difficulty)
        attributes = range(len(ATTRIBUTES)) if difficulty is None else (difficulty - 1,)
        asked = np.array(self.people_of(split))
        found = {"majority": asked, "pool": np.arange(self.biographies.people)}
        return {
            name: float(np.mean([self._largest_share(a, people) for a in attributes]))
            for name, people in found.items()
        }

    def _largest_share(self, attribute: int, people: np.ndarray) -> float:
        values = self.text.world.facts[ATTRIBUTES[attribute]][people]
        return share_of_most_frequent(values[None], int(values.max()) + 1)
