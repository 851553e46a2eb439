"""Multi-hop questions about a layered graph, in words (Yao et al. 2505.17923; Ouro 2510.25741 §6).

Legend: B documents, T tokens, W people in a layer, R relations, k hops.
"""

from functools import cached_property
from math import lgamma, log, log2
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.curriculum import Curriculum, hop_shares
from generators.support.layered_words import RELATIONS, people_names
from generators.support.memoriser import commonest_guess, mean_of_shared
from generators.support.question_layout import (
    Piece,
    result_is_right,
    share_of_most_frequent,
    write_question,
)
from generators.task import Batch, Task
from generators.vocabulary import BOS, Vocabulary

#: most questions of one hop count, which are listed for the splits and answered for the floors
LISTED_QUESTIONS = 50_000_000


class Layered(Curriculum):
    """`Who is the r3 of the r2 of the r1 of Bob ?`, answered at once.

    People stand in `layers` of equal size. For each of R relations a person points at a random
    person of the next layer, and questions start in the first. Of the W·R^k questions a share
    `budget` is in training; `held_out` others are the validation split, as many the test split.
    The same held-out questions serve every budget, and a larger budget contains a smaller one.

    >>> task = Layered(people=40, relations=3, held_out=20).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 3, 0]), 1)
    >>> print(task.vocabulary.decode(batch.tokens[0])); print(batch.loss_mask[0].astype(int))
    <bos> Who is the instructor of the mentor of the mentor of Aaron ? Answer: Ariana
    [0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1]

    In the papers 500 people, 20 relations, 5 layers, k = 3, budgets of 2.5 to 25 % of 800,000
    questions and 3,000 held out. Whether single facts are in training they leave open: `facts`
    adds all of them, from every layer. `fewer_hops` adds easier questions, with the same budget.
    """

    version: ClassVar[int] = 1
    difficulty_name: ClassVar[str] = "hops"

    kind: Literal["layered"] = "layered"
    people: int = Field(500, ge=4, description="in all layers together")
    layers: int = Field(
        5, ge=2, description="layers of entities; a fact leads from one to the next"
    )
    relations: int = Field(20, ge=1, le=len(RELATIONS), description="R, relations of the world")
    hops: int = Field(3, ge=1, description="of the questions that are held out")
    budget: float = Field(0.15, gt=0, lt=1, description="share of all questions in training")
    held_out: int = Field(3000, ge=1, description="questions in validation, and again in test")
    facts: bool = Field(False, description="every single fact in training, from all layers")
    fewer_hops: bool = Field(False, description="questions of fewer hops too")
    cot: bool = Field(False, description="the people on the way are written before the answer")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        names = len(people_names())
        if self.people > names:
            raise ValueError(f"people {self.people} is more than the {names} names there are")
        if self.people % self.layers or self.people < 2 * self.layers:
            raise ValueError(
                f"people {self.people} do not fill {self.layers} layers equally; "
                f"ask for a multiple of {self.layers}, at least {2 * self.layers}"
            )
        if self.hops >= self.layers:
            raise ValueError(
                f"hops {self.hops} lead beyond the last of {self.layers} layers; "
                f"ask for at most {self.layers - 1} hops or {self.hops + 1} layers"
            )
        return self

    @model_validator(mode="after")
    def _enough_questions(self) -> Self:
        for hops in self._split_hops:
            n = self.questions(hops)
            if n > LISTED_QUESTIONS:
                raise ValueError(
                    f"there are {n} questions of {hops} hops, more than the {LISTED_QUESTIONS} "
                    "that can be listed; lower relations, people or hops"
                )
            trained, held_out = round(self.budget * n), 2 * self.held_out
            if not 0 < trained <= n - held_out:
                raise ValueError(
                    f"budget {self.budget} of the {n} questions of {hops} hops is {trained}; "
                    f"with {self.held_out} held out for validation and {self.held_out} for test "
                    + (
                        f"training can have 1 to {n - held_out}; change budget or held_out"
                        if held_out < n
                        else f"none are left for training; held_out can be at most {(n - 1) // 2}"
                    )
                )
        hop_shares(self.hop_weights, self.difficulties)
        return self

    @property
    def width(self) -> int:
        """W, people in a layer."""
        return self.people // self.layers

    @property
    def difficulties(self) -> tuple[int, ...]:
        """Hops that occur in training."""
        fewer = range(1, self.hops) if self.fewer_hops else [1] if self.facts else []
        return tuple(dict.fromkeys((*fewer, self.hops)))

    @property
    def _split_hops(self) -> tuple[int, ...]:
        """Hop counts with held-out questions: all but single facts that training has in full."""
        return tuple(k for k in self.difficulties if k > 1 or not (self.facts or self.fewer_hops))

    def difficulties_of(self, split: str) -> tuple[int, ...]:
        return self.difficulties if split == "train" else self._split_hops

    def questions(self, hops: int) -> int:
        """Questions from the first layer, over all splits: W·R^k."""
        return self.width * self.relations**hops

    @cached_property
    def table(self) -> np.ndarray:
        """int32[layers-1, R, W]: table[l, r, w] is the person of layer l+1 that w points at."""
        shape = (self.layers - 1, self.relations, self.width)
        return self.world_generator().integers(0, self.width, shape, dtype=np.int32)

    @cached_property
    def _listed(self) -> dict[tuple[str, int], np.ndarray]:
        return {}

    def listed(self, split: str, hops: int) -> np.ndarray:
        """Question numbers of a split, int64[n]; single facts are numbered over all layers."""
        if hops not in self._split_hops:
            return np.arange(self.questions(1) * (self.layers - 1 if self.facts else 1))
        if (split, hops) not in self._listed:
            rng = self.world_generator(hops)
            order = rng.permutation(self.questions(hops))
            stops = np.cumsum([0, self.held_out, self.held_out, round(self.budget * len(order))])
            for i, name in enumerate(("validation", "test", "train")):
                self._listed[name, hops] = order[stops[i] : stops[i + 1]]
        return self._listed[split, hops]

    def count(self, split: str, difficulty: int) -> int:
        return len(self.listed(split, difficulty))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        words = [BOS, "Who", "is", "the", "of", "?", "Answer:"]
        return Vocabulary.build(
            [*words, *RELATIONS[: self.relations], *people_names()[: self.people]]
        )

    @property
    def vocabulary_size(self) -> int:
        return 8 + self.relations + self.people

    def sketch(self) -> Task:
        """Documents are as long as they have hops; the fewest people that can be split."""
        width = min(self.width, 4)
        return self.with_fields(
            people=width * self.layers, relations=1 + (width == 2), budget=1 / 3, held_out=1
        )

    @property
    def world_bytes(self) -> int:
        return 200 * self.people + 32 * self.questions(max(self._split_hops, default=1))

    @property
    def context_length(self) -> int:
        return 3 * self.hops + 7 + (self.hops - 1 if self.cot else 0)

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
        hops = self.draw_hops(rng, n, split=split, difficulty=difficulty, index=index)
        number = np.zeros(n, np.int64)
        for k in np.unique(hops):
            rows = np.flatnonzero(hops == k)
            listed = self.listed(split, int(k))
            if split == "train" or len(rows) > len(listed):
                number[rows] = listed[rng.integers(0, len(listed), len(rows))]
            else:
                number[rows] = rng.choice(listed, len(rows), replace=False)
        return self.documents(hops, number)

    def documents(self, hops: np.ndarray, number: np.ndarray) -> Batch:
        """The questions of these numbers: who, then the relations, in base R, then the layer."""
        v, W = self.vocabulary, self.width
        first_relation, first_person = v.id(RELATIONS[0]), len(v) - self.people
        who, rest = number % W, number // W
        relation = np.full((len(number), self.hops), -1)
        for k in range(self.hops):
            relation[:, k] = np.where(k < hops, rest % self.relations, -1)
            rest = np.where(k < hops, rest // self.relations, rest)
        person = np.full((len(number), self.hops + 1), -1)
        person[:, 0] = rest * W + who  # the layer, always the first but for facts
        for k in range(self.hops):
            layer, place = np.divmod(person[:, k], W)
            reached = (layer + 1) * W + self.table[layer % (self.layers - 1), relation[:, k], place]
            person[:, k + 1] = np.where(k < hops, reached, -1)
        tokens = np.where(person < 0, 0, first_person + person)
        steps = np.where(np.arange(1, self.hops) < hops[:, None], tokens[:, 1:-1], 0)
        result = np.take_along_axis(tokens, hops[:, None], axis=1)
        words = np.stack(np.broadcast_arrays(v.id("the"), first_relation + relation, v.id("of")), 2)
        phrase = np.where(relation[:, ::-1, None] < 0, 0, words[:, ::-1])  # the last one first
        pieces: list[Piece] = [("", v.ids([BOS, "Who", "is"]))]
        pieces += [("relations", phrase.reshape(len(number), -1)), ("entity", tokens[:, :1])]
        pieces += [("", v.ids(["?", "Answer:"]))]
        pieces += [("steps", steps)] if self.cot and self.hops > 1 else []
        latents = {f"hop.{k}": person[:, k] for k in range(self.hops + 1)}
        latents |= {f"relation.{k + 1}": relation[:, k] for k in range(self.hops)}
        return write_question([*pieces, ("result", result)], latents, hops)

    def is_correct(self, batch: Batch, generated: np.ndarray) -> np.ndarray:
        return result_is_right(batch, generated)

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """What a model reaches that memorised the training questions and composes nothing.

        The commonest training answer to the same relations in order (`relations`), or to the
        same end of the chain (`last_two`, `last_relation`); `chance`: 1/W. Without a difficulty:
        the mean over the hop counts. In training: as `oracle_floors`.
        """
        self.check_arguments(split, difficulty)
        if split == "train":
            return self.oracle_floors(difficulty, split)
        hops = self.difficulties_of(split) if difficulty is None else (difficulty,)
        return mean_of_shared([self._memorised(split, k) for k in hops])

    def oracle_floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """Best guesses that do not use the person but know how all answers are distributed.

        Over all questions from the first layer, those held out included; names as in `floors`.
        """
        self.check_arguments(split, difficulty)
        hops = self.difficulties_of(split) if difficulty is None else (difficulty,)
        return mean_of_shared([self._oracle(k) for k in hops])

    def _answers(self, hops: int) -> np.ndarray:
        """int32[W·R^k], the answer to each question from the first layer, by number."""
        answers = np.arange(self.width, dtype=np.int32)
        for layer in range(hops):
            flat = answers.reshape(-1, self.width)
            answers = self.table[layer][:, flat]  # the last relation first
        return answers.ravel()

    def _known(self, hops: int) -> dict[str, int]:
        """Name -> how many relations, from the end of the chain, a guess knows."""
        return {
            name: m
            for name, m in {"relations": hops, "last_two": 2, "last_relation": 1}.items()
            if m <= hops
        }

    def _memorised(self, split: str, hops: int) -> dict[str, float]:
        train, asked = self.listed("train", hops), self.listed(split, hops)
        answers, found = self._answers(hops), {}
        for name, m in self._known(hops).items():
            unknown = self.width * self.relations ** (hops - m)
            found[name] = commonest_guess(
                train // unknown, answers[train], asked // unknown, answers[asked], self.width
            )
        return {**found, "chance": 1 / self.width}

    def _oracle(self, hops: int) -> dict[str, float]:
        answers = self._answers(hops)
        found = {
            name: share_of_most_frequent(answers.reshape(self.relations**m, -1), self.width)
            for name, m in self._known(hops).items()
        }
        return {**found, "chance": 1 / self.width}

    def information_bits(self) -> float:
        """Bits of the arrows that training tells of, where the budget suffices.

        W·R·log2 W a layer; where only questions of k > 1 hops are asked, the people between are
        never named and W! ways to name each layer of them tell the same.
        """
        layers = self.layers - 1 if self.facts else self.hops
        bits = layers * self.width * self.relations * log2(self.width)
        if not self.cot and self.difficulties == (self.hops,):
            bits -= (self.hops - 1) * lgamma(self.width + 1) / log(2)
        return bits
