"""Questions about remembered biographies (Physics of Language Models 3.1, 2309.14316).

Legend: B documents, N people, A = 6 attributes (in the order of `ATTRIBUTES`).
"""

from fractions import Fraction
from functools import cached_property
from math import ceil
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, PrivateAttr

from generators.batch import Batch, stacked
from generators.questions import PeopleQuestions
from generators.streams import Stream, generator
from generators.support.question_layout import (
    Piece,
    share_of_most_frequent,
    write_question,
)
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


class Extraction(PeopleQuestions):
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
    """

    version: ClassVar[int] = 1
    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test")
    difficulty_name: ClassVar[str] = "attribute"

    kind: Literal["extraction"] = "extraction"
    qa_ratio: float = Field(0.5, gt=0, lt=1, description="share of documents that are questions")
    #: None, so that two configurations can be compared; an array could not
    _last_order: tuple[int, np.ndarray] | None = PrivateAttr(default=None)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        words = [word for parts in QUESTIONS.values() for part in parts for word in part.split()]
        return Vocabulary.build([*self.text.vocabulary.tokens[1:], *words])

    @property
    def dates(self) -> tuple[str, ...]:
        """Parts of a birth date, in the order of the biographies where they all have the same."""
        return ("day", "month", "year") if self.biographies.reversed_date else DATE

    @property
    def world_bytes(self) -> int:
        return super().world_bytes + 8 * len(ATTRIBUTES) * self._stops[0]

    @property
    def difficulties(self) -> tuple[int, ...]:
        """A difficulty is the number of an attribute in `ATTRIBUTES`, from 1."""
        return tuple(range(1, len(ATTRIBUTES) + 1))

    def count(self, split: str, difficulty: int) -> int:
        """The number of people of a split: each is asked about once for every attribute."""
        return len(self.people_of(split))

    @property
    def _ratio(self) -> Fraction:
        return Fraction(self.qa_ratio).limit_denominator(1000)

    @property
    def items_per_exposure(self) -> int:
        """Documents that show every biography once: N / (1 - qa_ratio), rounded up."""
        return ceil(self.biographies.people / (1 - self._ratio))

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
        told = self.told(rng, n - asked, first)
        return stacked([*told, self.ask(*np.divmod(questions, len(ATTRIBUTES)))])

    def _asked(self, first: int, last: int) -> np.ndarray:
        """Numbers of the training questions first … last-1, int64[n]; each comes once per epoch."""
        every = len(ATTRIBUTES) * self._stops[0]
        epochs = range(first // every, -(-last // every))
        order = [self._question_order(epoch) for epoch in epochs]
        start = first - first // every * every
        return np.concatenate([np.zeros(0, np.int64), *order])[start : start + last - first]

    def _question_order(self, epoch: int) -> np.ndarray:
        """The order of the questions, drawn apart from that of the biographies (component 0)."""
        if self._last_order is None or self._last_order[0] != epoch:
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

    def question_tokens(self) -> list[np.ndarray]:
        return [*self._question_tokens]

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

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """Accuracy of a constant answer; without a difficulty the mean over the attributes.

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
