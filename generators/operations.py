"""Operations on remembered biographies (Physics of Language Models 3.2, 2309.14402).

Legend: B documents, T tokens, N people.
"""

from functools import cached_property
from itertools import combinations
from math import ceil
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.pieces import Piece, result_is_right, stacked, write_question
from generators.questions import PeopleQuestions
from generators.task import Batch
from generators.templates import ATTRIBUTES
from generators.vocabulary import BOS, Vocabulary

Operation = Literal["dual", "day", "year", "modulo", "comparison", "subtraction", "inverse"]
#: one token a word; a slot holds values, or the name of one of the two people
PHRASES: dict[Operation, str] = {
    "dual": "What is the {first} and the {second} of {one} ? Answer:",
    "day": "What is the birth-day of {one} ? Answer:",
    "year": "What is the birth-year of {one} ? Answer:",
    "modulo": "What is the birth-month of {one} modulo {modulus} ? Answer:",
    "comparison": "Was {one} born in a later month than {other} ? Answer:",
    "subtraction": "What is the birth-month of {one} minus the birth-month of {other} ? Answer:",
    "inverse": "Who has {clues} ? Answer:",
}
FIELDS = tuple(name.replace("_", "-") for name in ATTRIBUTES)
MONTHS = 12


class Operations(PeopleQuestions):
    """Biographies, and questions that ask for something computed from what they say.

    The biographies of all N people are in training, with questions about a share `trained` of
    them; validation and test ask about the others, half each. Operations: `dual` (two
    attributes), `day` and `year` (of birth alone), `modulo` (the birth month, January 0, modulo
    `modulus`), `comparison` and `subtraction` (of the birth months of two people), `inverse`
    (the full name, from the first `clues` attributes).

    >>> task = Operations(operation="comparison", cot=True).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 4, 0]), 1, split="test")
    >>> print(task.vocabulary.decode(batch.tokens[0, 1:])); print(batch.loss_mask[0].astype(int))
    Was Mary Richard Huang born in a later month than Frank Ernest Kim ? Answer: April March yes
    [0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 1 1]

    In the paper the model is first trained on the biographies of 100,000 people and then
    fine-tuned on questions; here both are mixed, `questions` of them for each biography, and of
    a question only the answer is scored. The paper's moduli are 2, 6 and 12. Inverse search
    counts everyone who fits the clues as right.
    """

    version: ClassVar[int] = 1
    difficulty_name: ClassVar[str] = "persons"
    fewest: ClassVar[tuple[int, int]] = (2, 4)

    kind: Literal["operations"] = "operations"
    operation: Operation = "dual"
    questions: int = Field(1, ge=1, description="in training, for each biography")
    modulus: int = Field(2, ge=2, le=MONTHS)
    clues: int = Field(len(ATTRIBUTES), ge=1, le=len(ATTRIBUTES))
    cot: bool = Field(False, description="the birth months are written before the answer")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.cot and self.operation in ("dual", "inverse"):
            raise ValueError(
                f"cot has no intermediate results to write for {self.operation}; leave it out"
            )
        return self

    @cached_property
    def vocabulary(self) -> Vocabulary:
        words = [w for w in PHRASES[self.operation].split() if w[0] != "{"]
        numbers = [f"number:{i}" for i in range(1 - MONTHS, MONTHS + 1)]
        own = [*words, *FIELDS, "yes", "no", *numbers]
        return Vocabulary.build([*self.text.vocabulary.tokens[1:], *own])

    @property
    def items_per_exposure(self) -> int:
        """N biographies and their share of questions."""
        return self.biographies.people * (1 + self.questions)

    @property
    def difficulties(self) -> tuple[int, ...]:
        """People in a question; biographies, which are not asked about, have difficulty 0."""
        return (2,) if self.operation in ("comparison", "subtraction") else (1,)

    def count(self, split: str, difficulty: int) -> int:
        """Different people, or ordered pairs of them."""
        n = len(self.people_of(split))
        return n * (n - 1) if difficulty == 2 else n

    def sample(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        split: str = "train",
        difficulty: int | None = None,
        index: int | None = None,
    ) -> Batch:
        """Questions where a difficulty or a held-out split is asked for, else biographies too."""
        self.check_arguments(split, difficulty)
        if split != "train" or difficulty is not None:
            return self.ask(rng, *self._draw(rng, n, split))
        period = 1 + self.questions
        first = int(rng.integers(0, period)) if index is None else index
        start, stop = ceil(first / period), ceil((first + n) / period)
        shown = None if index is None else start
        parts = self.told(rng, stop - start, shown)
        if n > stop - start:
            parts.append(self.ask(rng, *self._draw(rng, n - (stop - start), split)))
        return stacked(parts)

    def _draw(self, rng: np.random.Generator, n: int, split: str) -> tuple[np.ndarray, ...]:
        """The people of n questions and other people of the split, int64[n] each."""
        people = self.people_of(split)
        if split == "train" or n > len(people) or self.difficulties == (2,):
            one = rng.integers(0, len(people), n)
        else:
            one = rng.permutation(len(people))[:n]
        other = (one + rng.integers(1, len(people), n)) % len(people)
        return people.start + one, people.start + other

    def ask(self, rng: np.random.Generator, one: np.ndarray, other: np.ndarray) -> Batch:
        """A question about each `one`, and `other` where two are asked about."""
        name, values = self._tokens["name"], self._tokens["values"]
        month = self.text.world.dates[:, 0]
        slots = {"one": name[one], "other": name[other], "clues": self._clues[one]}
        slots["modulus"] = self._numbers(np.array([self.modulus]))
        pair = rng.random((len(one), len(ATTRIBUTES))).argsort(axis=1)[:, :2]
        fields = self.vocabulary.ids(FIELDS)[pair]
        slots |= {"first": fields[:, :1], "second": fields[:, 1:]}
        pieces: list[Piece] = [
            (word[1:-1], slots[word[1:-1]]) if word[0] == "{" else ("", self.vocabulary.ids([word]))
            for word in (BOS, *PHRASES[self.operation].split())
        ]
        asked = np.stack([one, other][: self.difficulties[0]], axis=1)
        if self.cot:
            pieces.append(("steps", values[asked, 0, 0]))
        results = {
            "dual": lambda: values[one[:, None], pair].reshape(len(one), -1),
            "day": lambda: values[one, 0, 1:2],
            "year": lambda: values[one, 0, 2:],
            "modulo": lambda: self._numbers(month[one] % self.modulus)[:, None],
            "comparison": lambda: self._yes_or_no(month[one] > month[other])[:, None],
            "subtraction": lambda: self._numbers(month[one] - month[other])[:, None],
            "inverse": lambda: name[one],
        }
        pieces.append(("result", results[self.operation]()))
        latents = {"person": one, "month": month[one]}
        if self.difficulties == (2,):
            latents |= {"other": other, "other_month": month[other]}
        return write_question(pieces, latents, np.full(len(one), self.difficulties[0]))

    def _numbers(self, number: np.ndarray) -> np.ndarray:
        return (number + self.vocabulary.id("number:0")).astype(np.int32)

    def _yes_or_no(self, yes: np.ndarray) -> np.ndarray:
        return np.where(
            yes, np.int32(self.vocabulary.id("yes")), np.int32(self.vocabulary.id("no"))
        )

    @property
    def _clues(self) -> np.ndarray:
        """int32[N, clues·3], what inverse search tells of each person."""
        return self._tokens["values"][:, : self.clues].reshape(self.biographies.people, -1)

    def is_correct(self, batch: Batch, generated: np.ndarray) -> np.ndarray:
        """For inverse search: whether the clues fit the person who is named."""
        if self.operation != "inverse":
            return result_is_right(batch, generated)
        people = {tuple(name): person for person, name in enumerate(self._tokens["name"].tolist())}
        named = np.array([people.get(tuple(row[:3]), -1) for row in generated.tolist()])
        clues = self._clues
        fits = (clues[named] == clues[batch.latents["person"]]).all(axis=1)
        return (named >= 0) & fits

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """Best guesses that do not remember anybody, over the people asked about in a split.

        `majority`: always the commonest answer (for `dual`, to the same pair of attributes; for
        `inverse`, always the person whom the clues of most people fit). Of two people also
        `one_person`: the best guess from one of the two birth months.
        """
        self.check_arguments(split, difficulty)
        people = self.people_of(split)
        if self.difficulties == (2,):
            return self._floors_of_two(people)
        n = len(people)
        month, day, year = self.text.world.dates[people.start : people.stop].T
        if self.operation == "dual":
            return {"majority": self._majority_of_pairs(people)}
        answers = {"day": day, "year": year, "modulo": month % self.modulus}
        if self.operation == "inverse":
            clues = self._clues[people.start : people.stop]
            return {"majority": float(np.unique(clues, axis=0, return_counts=True)[1].max() / n)}
        return {"majority": float(np.bincount(answers[self.operation]).max() / n)}

    def _majority_of_pairs(self, people: range) -> float:
        """Mean share of the commonest pair of values, over all pairs of attributes."""
        facts = [self.text.world.facts[a][people.start : people.stop] for a in ATTRIBUTES]
        shares = [
            np.unique(np.stack(pair), axis=1, return_counts=True)[1].max() / len(people)
            for pair in combinations(facts, 2)
        ]
        return float(np.mean(shares))

    def _floors_of_two(self, people: range) -> dict[str, float]:
        month = self.text.world.dates[people.start : people.stop, 0]
        counts = np.bincount(month, minlength=MONTHS)
        pairs = counts[:, None] * counts - np.diag(counts)  # of different people, by months
        difference = np.arange(MONTHS)[:, None] - np.arange(MONTHS)
        answer = difference > 0 if self.operation == "comparison" else difference + MONTHS
        by_month = [np.bincount(answer[m], pairs[m], 2 * MONTHS) for m in range(MONTHS)]
        total = pairs.sum()
        return {
            "majority": float(np.sum(by_month, axis=0).max() / total),
            "one_person": float(np.max(by_month, axis=1).sum() / total),
        }
