"""Composition of two facts with held-out facts and pairs (Wang et al. 2405.15071).

Legend: B documents, T tokens, E entities, D facts of each entity, R relations.
"""

from functools import cached_property
from math import ceil, log2
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from generators.support.memoriser import commonest_guess
from generators.support.question_layout import Piece, result_is_right, write_question
from generators.task import Batch, Task
from generators.vocabulary import Vocabulary

#: share of OOD facts where nothing but the shape of documents is asked for
SKETCH_OOD = 0.2


class Composition(Task):
    """Facts `h r t` and compositions `h r1 r2 t`: t is what r2 leads to from where r1 leads.

    Each entity has `out_degree` facts, with different relations and random tails. All facts are
    in training; a share `ood` of them never takes part in a composition there. Of compositions
    of two other (ID) facts, φ times as many as there are ID facts are in training. The test
    split, the paper's iid, has other compositions of ID facts, validation as many more; the other
    test split, `ood`, has every composition of two OOD facts.

    >>> task = Composition(entities=20, relations=6, out_degree=3, phi=1.5, held_out=0.1, ood=0.2)
    >>> task = task.bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 4, 0]), 1, split="test")
    >>> print(task.vocabulary.decode(batch.tokens[0])); print(batch.loss_mask[0].astype(int))
    e0 r5 r5 e0
    [0 0 0 1]

    In the paper 2000 entities, 200 relations, out-degree 20, φ from 3.6 to 18. There φ·ID facts
    are drawn for training from 99.5 % of the pairs of ID facts and the rest is the iid test.
    """

    version: ClassVar[int] = 1
    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test", "ood")
    difficulty_name: ClassVar[str] = "hops"

    kind: Literal["composition"] = "composition"
    entities: int = Field(2000, ge=2, description="E, entities of the world")
    relations: int = Field(200, ge=1, description="R, relations of the world")
    out_degree: int = Field(20, ge=1, description="facts of each entity")
    phi: float = Field(7.2, gt=0, description="compositions in training for each ID fact")
    ood: float = Field(0.05, gt=0, lt=1, description="share of facts that are never composed")
    held_out: float = Field(
        0.005, gt=0, lt=0.5, description="share of the pairs of ID facts in test and in validation"
    )
    cot: bool = Field(False, description="the entity between is written before the answer")
    _parts: dict[tuple[str, int], np.ndarray] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.out_degree > self.relations:
            raise ValueError(
                f"out_degree {self.out_degree} needs as many different relations, "
                f"there are {self.relations}"
            )
        if not 2 <= self.ood_facts <= self.facts - 2:
            raise ValueError(
                f"ood {self.ood} of {self.facts} facts is {self.ood_facts}; 2 to "
                f"{self.facts - 2} are possible: change ood, entities or out_degree"
            )
        return self

    @property
    def facts(self) -> int:
        """E·D, the number of facts."""
        return self.entities * self.out_degree

    @property
    def ood_facts(self) -> int:
        return round(self.ood * self.facts)

    @cached_property
    def world(self) -> dict[str, np.ndarray]:
        """`relation`, `tail` int64[E·D] and `is_ood` bool[E·D] of each fact f, of entity f//D."""
        rng = self.world_generator()
        order = rng.random((self.entities, self.relations)).argsort(axis=1)
        tail = rng.integers(0, self.entities, self.facts)
        is_ood = np.zeros(self.facts, bool)
        is_ood[rng.choice(self.facts, self.ood_facts, replace=False)] = True
        relation = np.sort(order[:, : self.out_degree], axis=1).ravel()
        return {"relation": relation, "tail": tail, "is_ood": is_ood}

    def second_fact(self, pair: np.ndarray) -> np.ndarray:
        """The second fact of composition number first·D + place among the facts of its tail."""
        first, place = np.divmod(pair, self.out_degree)
        return self.world["tail"][first] * self.out_degree + place

    def listed(self, split: str, hops: int) -> np.ndarray:
        """Fact numbers (one hop) or composition numbers of a split, int64[n].

        Raises:
            ValueError: φ asks for more compositions than there are.
        """
        if not self._parts:
            pairs = np.arange(self.facts * self.out_degree)
            is_ood = self.world["is_ood"]
            first, second = is_ood[pairs // self.out_degree], is_ood[self.second_fact(pairs)]
            order = self.world_generator(1).permutation(pairs[~first & ~second])
            held_out = max(1, round(self.held_out * len(order)))
            id_facts = self.facts - self.ood_facts
            wanted, left = round(self.phi * id_facts), len(order) - 2 * held_out
            if not 0 < wanted <= left:
                raise ValueError(
                    f"phi {self.phi} times {id_facts} ID facts asks for {wanted} compositions in "
                    f"training; this world has {left} besides {held_out} held out for test and "
                    f"{held_out} for validation: phi can be at most {left / id_facts:.4g}"
                )
            self._parts["test", 2], self._parts["validation", 2] = np.split(
                order[: 2 * held_out], 2
            )
            self._parts["train", 2] = order[2 * held_out :][:wanted]
            self._parts["ood", 2] = pairs[first & second]
            self._parts["train", 1] = np.arange(self.facts)
        return self._parts[split, hops]

    def count(self, split: str, difficulty: int) -> int:
        return len(self.listed(split, difficulty))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        entities = [f"e{e}" for e in range(self.entities)]
        return Vocabulary.build([*entities, *(f"r{r}" for r in range(self.relations))])

    @property
    def vocabulary_size(self) -> int:
        return 1 + self.entities + self.relations

    def sketch(self) -> Task:
        """As many compositions for each fact as here, of which every world of this kind has enough.

        Beyond a hundred a fact is so rare that their number makes no difference.
        """
        phi = min(self.phi * (1 - self.ood) / (1 - SKETCH_OOD), 100.0)
        degree = 4 + 2 * ceil(phi)
        return self.with_fields(
            entities=2 + 4000 // degree,
            relations=degree,
            out_degree=degree,
            phi=phi,
            ood=SKETCH_OOD,
            held_out=1e-9,
        )

    @property
    def world_bytes(self) -> int:
        names = 200 * (self.entities + self.relations)
        return names + self.entities * max(16 * self.relations, 80 * self.out_degree**2)

    @property
    def context_length(self) -> int:
        return 5 if self.cot else 4

    @property
    def difficulties(self) -> tuple[int, ...]:
        """A difficulty counts hops: 1 for a fact, 2 for a composition."""
        return (1, 2)

    def difficulties_of(self, split: str) -> tuple[int, ...]:
        """Only training has difficulty 1, since every fact is trained on."""
        return (1, 2) if split == "train" else (2,)

    def sample(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        split: str = "train",
        difficulty: int | None = None,
        index: int | None = None,
    ) -> Batch:
        """Documents of a split; every fact and composition is equally likely in training."""
        self.check_arguments(split, difficulty)
        known = self.difficulties_of(split) if difficulty is None else (difficulty,)
        stops = np.cumsum([self.count(split, k) for k in known])
        if stops[-1] == 0:
            raise ValueError(
                f"the {split} split is empty: no two of {self.ood_facts} OOD facts meet; "
                "raise ood, entities or out_degree"
            )
        if split == "train" or n > stops[-1]:
            place = rng.integers(0, stops[-1], n)
        else:
            place = rng.choice(stops[-1], n, replace=False)
        hops, number = np.zeros(n, np.int64), np.zeros(n, np.int64)
        for k, stop in zip(known, stops, strict=True):
            listed = self.listed(split, k)
            rows = (hops == 0) & (place < stop)
            hops[rows], number[rows] = k, listed[place[rows] - (stop - len(listed))]
        return self.documents(hops, number)

    def documents(self, hops: np.ndarray, number: np.ndarray) -> Batch:
        """The facts and compositions of these numbers, int64[B], by hops, int[B]."""
        composed = hops == 2
        first = np.where(composed, number // self.out_degree, number)
        second = self.second_fact(np.where(composed, number, 0))
        relation, tail = self.world["relation"], self.world["tail"]
        chain = np.stack(
            [first // self.out_degree, tail[first], np.where(composed, tail[second], -1)], axis=1
        )
        relations = np.stack([relation[first], np.where(composed, relation[second], -1)], axis=1)
        entity = 1 + chain  # 0, padding, where there is none
        asked = np.where(relations < 0, 0, 1 + self.entities + relations)
        pieces: list[Piece] = [("entity", entity[:, :1]), ("relations", asked)]
        if self.cot:
            pieces.append(("steps", np.where(composed[:, None], entity[:, 1:2], 0)))
        pieces.append(("result", np.where(composed, entity[:, 2], entity[:, 1])[:, None]))
        latents = {f"hop.{k}": chain[:, k] for k in range(3)}
        latents |= {f"relation.{k + 1}": relations[:, k] for k in range(2)}
        return write_question(pieces, latents, hops)

    def is_correct(self, batch: Batch, generated: np.ndarray) -> np.ndarray:
        return result_is_right(batch, generated)

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """What a model reaches that memorised the training questions and composes nothing.

        `relations` and `last_relation`: the commonest training answer to the same two relations,
        or to the same last one; `chance`: 1/E. In training: as `oracle_floors`.
        """
        self.check_arguments(split, difficulty)
        if split == "train":
            return self.oracle_floors(difficulty, split)
        train, asked = self.listed("train", 2), self.listed(split, 2)
        if not len(asked):
            return {"chance": 1 / self.entities}
        both, last, answer = self._compositions
        found = {
            name: commonest_guess(
                key[train], answer[train], key[asked], answer[asked], self.entities
            )
            for name, key in (("relations", both), ("last_relation", last))
        }
        return {**found, "chance": 1 / self.entities}

    def oracle_floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """Best guesses that do not use the head entity but know how all answers are distributed.

        `relations`: from both relations; `last_relation`: from the last one; `chance`: 1/E.
        Splits do not matter: the guess knows the whole world. Without a difficulty: the mean,
        weighted as the split's documents are.
        """
        self.check_arguments(split, difficulty)
        known = self.difficulties_of(split) if difficulty is None else (difficulty,)
        counts = np.array([max(self.count(split, k), 1) for k in known])
        weights = (counts / counts.sum()).tolist()
        every = [self._oracle[k] for k in known]
        return {
            name: sum(w * f[name] for w, f in zip(weights, every, strict=True)) for name in every[0]
        }

    @cached_property
    def _compositions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Both relations as one number, the last one and the answer, int64[E·D·D] each."""
        relation, tail = self.world["relation"], self.world["tail"]
        pairs = np.arange(self.facts * self.out_degree)
        second = self.second_fact(pairs)
        both = relation[pairs // self.out_degree] * self.relations + relation[second]
        return both, relation[second], tail[second]

    @cached_property
    def _oracle(self) -> dict[int, dict[str, float]]:
        single = self._best_guess(self.world["relation"], self.world["tail"])
        both, last, answer = self._compositions
        return {
            1: {"relations": single, "last_relation": single, "chance": 1 / self.entities},
            2: {
                "relations": self._best_guess(both, answer),
                "last_relation": self._best_guess(last, answer),
                "chance": 1 / self.entities,
            },
        }

    def _best_guess(self, known: np.ndarray, answer: np.ndarray) -> float:
        """Share of right answers when each value of `known` is answered with its commonest."""
        key, count = np.unique(known * self.entities + answer, return_counts=True)
        starts = np.flatnonzero(np.diff(key // self.entities, prepend=-1))
        return float(np.maximum.reduceat(count, starts).sum() / len(answer))

    def information_bits(self) -> float:
        """Bits of the tails, E·D·log2 E, given which relations each entity has."""
        return self.facts * log2(self.entities)
