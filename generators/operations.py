"""Operations on remembered biographies (Physics of Language Models 3.2, 2309.14402).

Legend: B documents, T tokens, N people.
"""

from functools import cached_property
from itertools import combinations
from math import ceil, lgamma, log
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.batch import Batch, stacked
from generators.pools import load_pools
from generators.questions import PeopleQuestions
from generators.support.operation_phrases import (
    FIELDS,
    LUCK_PHRASES,
    MONTHS,
    PHRASES,
    Operation,
)
from generators.support.question_layout import Piece, result_is_right, write_question
from generators.templates import ATTRIBUTES
from generators.vocabulary import BOS, Vocabulary


class Operations(PeopleQuestions):
    """Biographies, and questions that ask for something computed from what they say.

    The biographies of all N people are in training, with questions about a share `trained` of
    them; validation and test ask about the others, half each. Operations: `dual` (two
    attributes), `day` and `year` (of birth alone), `modulo` (the birth month, January 0, modulo
    `modulus`), `comparison` and `subtraction` (of the birth months of two people), `inverse`
    (the full name, from the first `clues` attributes). With `quantity: luck` the middle three
    ask for the luck of majors: every major has a number of its own, 0 … M-1 in random order,
    which nothing but the answers tells.

    >>> task = Operations(operation="comparison", cot=True).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 4, 0]), 1, split="test")
    >>> print(task.vocabulary.decode(batch.tokens[0, 1:])); print(batch.loss_mask[0].astype(int))
    Was Mary Richard Huang born in a later month than Frank Ernest Kim ? Answer: April March yes
    [0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 1 1]

    In the paper the model is first trained on the biographies of 100,000 people and then
    fine-tuned on questions; here both are mixed, `questions` of them for each biography, and of
    a question only the answer is scored. The paper's moduli are 2, 6 and 12, of luck 5, 20 and
    100. Inverse search counts everyone who fits the clues as right; in the paper it fails unless
    the biographies have the `name_last`, and the `first_name` is asked for too.
    """

    version: ClassVar[int] = 1
    difficulty_name: ClassVar[str] = "persons"
    fewest: ClassVar[tuple[int, int]] = (2, 4)

    kind: Literal["operations"] = "operations"
    operation: Operation = Field("dual", description="what is computed")
    questions: int = Field(1, ge=1, description="in training, for each biography")
    quantity: Literal["month", "luck"] = Field(
        "month", description="what is computed with: the birth month or the luck of the major"
    )
    modulus: int = Field(2, ge=2, description="of the operation modulo")
    clues: int = Field(len(ATTRIBUTES), ge=1, le=len(ATTRIBUTES), description="of inverse")
    first_name: bool = Field(False, description="inverse search asks for the first name alone")
    cot: bool = Field(False, description="the birth months (or majors) stand before the answer")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.cot and self.operation in ("dual", "inverse"):
            raise ValueError(
                f"cot has no intermediate results to write for {self.operation}; leave it out"
            )
        if self.quantity == "luck" and self.operation not in LUCK_PHRASES:
            raise ValueError(
                f"{self.operation} computes with no quantity; quantity luck is for "
                f"{', '.join(LUCK_PHRASES)}"
            )
        if self.modulus > self.quantities:
            raise ValueError(
                f"modulus {self.modulus} is more than the {self.quantities} values of "
                f"{self.quantity}; ask for at most {self.quantities}"
            )
        return self

    @property
    def quantities(self) -> int:
        """M, the number of values of the quantity."""
        return MONTHS if self.quantity == "month" else len(load_pools(self.biographies.pools).major)

    @property
    def phrase(self) -> list[str]:
        """The words of a question, slots in braces."""
        return (PHRASES if self.quantity == "month" else LUCK_PHRASES)[self.operation].split()

    @cached_property
    def luck(self) -> np.ndarray:
        """Luck of each major, int64[M], a random permutation."""
        return self.world_generator(2).permutation(len(self.text.values.major))

    @cached_property
    def _quantity(self) -> np.ndarray:
        """The quantity of each person, int64[N]."""
        world = self.text.world
        return world.dates[:, 0] if self.quantity == "month" else self.luck[world.facts["major"]]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        words = [w for w in self.phrase if w[0] != "{"]
        numbers = [f"number:{i}" for i in range(1 - self.quantities, self.quantities + 1)]
        own = [*words, *FIELDS, "yes", "no", *numbers]
        return Vocabulary.build([*self.text.vocabulary.tokens[1:], *own])

    @property
    def world_bytes(self) -> int:
        searched = 220 * self.biographies.people if self.operation == "inverse" else 0
        return super().world_bytes + searched

    @property
    def items_per_exposure(self) -> int:
        """Documents of one exposure: N biographies and the questions that come with them."""
        return self.biographies.people * (1 + self.questions)

    @property
    def difficulties(self) -> tuple[int, ...]:
        """A difficulty is the number of people in a question; biographies have difficulty 0."""
        return (2,) if self.operation in ("comparison", "subtraction") else (1,)

    def count(self, split: str, difficulty: int) -> int:
        """Questions of a split: its people, or their ordered pairs."""
        n = len(self.people_of(split))
        return n * (n - 1) if difficulty == 2 else n

    def information_bits(self) -> float:
        """Bits of the biographies and, where luck is asked for, of the luck of the majors.

        The latter are log2 M!, less the orders of luck that a modulus does not tell apart.
        """
        bits = super().information_bits()
        if self.quantity == "luck":
            alike = [1] * self.quantities
            if self.operation == "modulo":
                alike = np.bincount(np.arange(self.quantities) % self.modulus).tolist()
            bits += (lgamma(self.quantities + 1) - sum(lgamma(n + 1) for n in alike)) / log(2)
        return bits

    def sample(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        split: str = "train",
        difficulty: int | None = None,
        index: int | None = None,
    ) -> Batch:
        """Questions alone for a given difficulty or a held-out split, else biographies too."""
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
        quantity = self._quantity
        slots = {"one": name[one], "other": name[other], "clues": self._clues[one]}
        slots["modulus"] = self._numbers(np.array([self.modulus]))
        pair = rng.random((len(one), len(ATTRIBUTES))).argsort(axis=1)[:, :2]
        fields = self.vocabulary.ids(FIELDS)[pair]
        slots |= {"first": fields[:, :1], "second": fields[:, 1:]}
        pieces: list[Piece] = [
            (word[1:-1], slots[word[1:-1]]) if word[0] == "{" else ("", self.vocabulary.ids([word]))
            for word in (BOS, *self.phrase)
        ]
        asked = np.stack([one, other][: self.difficulties[0]], axis=1)
        if self.cot:
            known = 0 if self.quantity == "month" else ATTRIBUTES.index("major")
            pieces.append(("steps", values[asked, known, 0]))
        results = {
            "dual": lambda: values[one[:, None], pair].reshape(len(one), -1),
            "day": lambda: values[one, 0, 1:2],
            "year": lambda: values[one, 0, 2:],
            "modulo": lambda: self._numbers(quantity[one] % self.modulus)[:, None],
            "comparison": lambda: self._yes_or_no(quantity[one] > quantity[other])[:, None],
            "subtraction": lambda: self._numbers(quantity[one] - quantity[other])[:, None],
            "inverse": lambda: name[one, : self._named],
        }
        pieces.append(("result", results[self.operation]()))
        latents = {"person": one, self.quantity: quantity[one]}
        if self.difficulties == (2,):
            latents |= {"other": other, f"other_{self.quantity}": quantity[other]}
        return write_question(pieces, latents, np.full(len(one), self.difficulties[0]))

    def question_tokens(self) -> list[np.ndarray]:
        """Of two people at most of each quantity, which have all results that there are."""
        people = np.array(self.people_of("train"))
        quantity = self._quantity[people]
        order = quantity.argsort(kind="stable")
        again = np.zeros(len(order), bool)
        again[2:] = quantity[order][2:] == quantity[order][:-2]
        one, other = (x.ravel() for x in np.meshgrid(*[people[order[~again]]] * 2))
        asked = self.ask(np.random.default_rng(0), one[one != other], other[one != other])
        fields = [self.vocabulary.ids(FIELDS)] if self.operation == "dual" else []
        return [asked.tokens, *fields]

    def _numbers(self, number: np.ndarray) -> np.ndarray:
        return (number + self.vocabulary.id("number:0")).astype(np.int32)

    def _yes_or_no(self, yes: np.ndarray) -> np.ndarray:
        return np.where(
            yes, np.int32(self.vocabulary.id("yes")), np.int32(self.vocabulary.id("no"))
        )

    @property
    def _clues(self) -> np.ndarray:
        """Tokens that inverse search tells of each person, int32[N, clues·3]."""
        return self._tokens["values"][:, : self.clues].reshape(self.biographies.people, -1)

    @property
    def _named(self) -> int:
        """Tokens of a name that inverse search asks for."""
        return 1 if self.first_name else self._tokens["name"].shape[1]

    def is_correct(self, batch: Batch, generated: np.ndarray) -> np.ndarray:
        """bool[B]; in inverse search everyone whose clues fit is a right answer."""
        if self.operation != "inverse":
            return result_is_right(batch, generated)
        clues, names = self._clues.tolist(), self._tokens["name"][:, : self._named].tolist()
        fits = {(*name, *told) for name, told in zip(names, clues, strict=True)}
        asked = zip(generated.tolist(), batch.latents["person"].tolist(), strict=True)
        return np.array([(*row[: self._named], *clues[person]) in fits for row, person in asked])

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """Best guesses that do not remember anybody, over the people asked about in a split.

        `majority`: always the commonest answer (for `dual`, to the same pair of attributes; for
        `inverse`, always the name that the clues of most people fit). Of two people also
        `one_person`: the best guess from one of the two birth months (or lucks).
        """
        self.check_arguments(split, difficulty)
        people = self.people_of(split)
        if self.difficulties == (2,):
            return self._floors_of_two(people)
        n = len(people)
        if self.operation == "dual":
            return {"majority": self._majority_of_pairs(people)}
        if self.operation == "inverse":
            return {"majority": self._majority_of_names(people)}
        _, day, year = self.text.world.dates[people.start : people.stop].T
        modulo = self._quantity[people.start : people.stop] % self.modulus
        answers = {"day": day, "year": year, "modulo": modulo}
        return {"majority": float(np.bincount(answers[self.operation]).max() / n)}

    def _majority_of_pairs(self, people: range) -> float:
        """Mean share of the commonest pair of values, over all pairs of attributes."""
        facts = [self.text.world.facts[a][people.start : people.stop] for a in ATTRIBUTES]
        shares = [
            np.unique(np.stack(pair), axis=1, return_counts=True)[1].max() / len(people)
            for pair in combinations(facts, 2)
        ]
        return float(np.mean(shares))

    def _majority_of_names(self, people: range) -> float:
        """Share of the people whose clues fit somebody of the name that fits most of them."""
        _, told = np.unique(self._clues, axis=0, return_inverse=True)
        told = told.ravel()
        asked = np.bincount(told[people.start : people.stop], minlength=int(told.max()) + 1)
        _, named = np.unique(self._tokens["name"][:, : self._named], axis=0, return_inverse=True)
        pairs = np.unique(np.stack([told, named.ravel()]), axis=1)
        return float(np.bincount(pairs[1], asked[pairs[0]]).max() / len(people))

    def _floors_of_two(self, people: range) -> dict[str, float]:
        M = self.quantities
        counts = np.bincount(self._quantity[people.start : people.stop], minlength=M)
        pairs = counts[:, None] * counts - np.diag(counts)  # of different people, by quantity
        difference = np.arange(M)[:, None] - np.arange(M)
        answer = difference > 0 if self.operation == "comparison" else difference + M
        by_first = [np.bincount(answer[m], pairs[m], 2 * M) for m in range(M)]
        total = pairs.sum()
        return {
            "majority": float(np.sum(by_first, axis=0).max() / total),
            "one_person": float(np.max(by_first, axis=1).sum() / total),
        }
