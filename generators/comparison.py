"""Comparison of two entities by an attribute, with held-out entities (Wang et al. 2405.15071).

Legend: B documents, T tokens, E entities, A attributes, V values.
"""

from functools import cached_property
from math import log2
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.support.memoriser import record_guess
from generators.support.question_layout import Piece, result_is_right, write_question
from generators.support.strings import bytes_of_choice
from generators.task import Batch, Task
from generators.vocabulary import Vocabulary

SIGNS = ("<", "=", ">")
#: share of OOD entities where nothing but the shape of documents is asked for
SKETCH_OOD = 0.01


class Comparison(Task):
    """Facts `e a v` and comparisons `a e1 e2 sign`, the sign of value(e1) against value(e2).

    Every entity has one of `values` values of each attribute, and all these facts are in
    training. For each attribute a share `ood` of the entities is never compared there: the test
    split `ood` compares them with each other. Of the comparisons of other (ID) entities φ times
    as many as there are ID facts are in training, others are validation and test (their iid).
    A pair of entities is in one split in both orders.

    >>> task = Comparison(entities=10, attributes=2, values=5, phi=2.0, ood=0.2, held_out=10)
    >>> task = task.bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 4, 0]), 1, split="test")
    >>> print(task.vocabulary.decode(batch.tokens[0])); print(batch.loss_mask[0].astype(int))
    a1 e5 e8 <
    [0 0 0 1]

    In the paper 1000 entities, 20 attributes of 20 values, 10 % OOD, φ from 3.6 to 12.6, and
    the three answers have tokens of their own for each attribute; here they are the same.
    """

    version: ClassVar[int] = 1
    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test", "ood")
    difficulty_name: ClassVar[str] = "values"

    kind: Literal["comparison"] = "comparison"
    entities: int = Field(1000, ge=4, description="E, entities of the world")
    attributes: int = Field(20, ge=1, description="attributes of each entity")
    values: int = Field(20, ge=2, description="different values of an attribute")
    phi: float = Field(7.2, gt=0, description="comparisons in training for each ID fact")
    ood: float = Field(0.1, gt=0, lt=1, description="share of entities, for each attribute")
    held_out: int = Field(3000, ge=2, description="comparisons in test, and again in validation")
    cot: bool = Field(False, description="both values are written before the answer")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        n = self.ood_entities
        if not 2 <= n <= self.entities - 2:
            raise ValueError(
                f"ood {self.ood} of {self.entities} entities is {n}; two to compare and two to "
                f"train on are needed: change ood or entities"
            )
        facts, held_out = self.attributes * self.id_entities, 2 * (self.held_out // 2)
        wanted, there_are = self._trained_pairs * 2, self.attributes * self.id_pairs * 2
        if not 0 < wanted <= there_are - 2 * held_out:
            raise ValueError(
                f"phi {self.phi} times {facts} ID facts asks for {wanted} comparisons in training; "
                f"of {there_are} there are {there_are - 2 * held_out} besides {held_out} held out "
                f"for test and {held_out} for validation: phi can be at most "
                f"{max(0, there_are - 2 * held_out) / facts:.4g}"
            )
        return self

    @property
    def ood_entities(self) -> int:
        """Held-out entities of each attribute."""
        return round(self.ood * self.entities)

    @property
    def id_entities(self) -> int:
        """Entities of each attribute that training compares."""
        return self.entities - self.ood_entities

    @property
    def id_pairs(self) -> int:
        """Unordered pairs of in-distribution entities for each attribute."""
        return self.id_entities * (self.id_entities - 1) // 2

    @property
    def _trained_pairs(self) -> int:
        return round(self.phi * self.attributes * self.id_entities / 2)

    @cached_property
    def world(self) -> dict[str, np.ndarray]:
        """`value` int64[A, E]; `order` int64[A, E], entities with the OOD ones last."""
        rng = self.world_generator()
        value = rng.integers(0, self.values, (self.attributes, self.entities))
        every = np.broadcast_to(np.arange(self.entities), value.shape)
        return {"value": value, "order": rng.permuted(every, axis=1)}

    def pool(self, split: str) -> np.ndarray:
        """The entities that a split compares by each attribute, int64[A, n]."""
        order, n = self.world["order"], self.id_entities
        return order[:, n:] if split == "ood" else order[:, :n]

    @cached_property
    def _listed(self) -> dict[str, np.ndarray]:
        """Unordered pairs of a split, numbered by attribute, then as in `np.triu_indices`."""
        held_out = self.held_out // 2
        rng = self.world_generator(1)
        drawn = rng.choice(
            self.attributes * self.id_pairs, 2 * held_out + self._trained_pairs, replace=False
        )
        n = self.ood_entities
        return {
            "test": drawn[:held_out],
            "validation": drawn[held_out : 2 * held_out],
            "train": drawn[2 * held_out :],
            "ood": np.arange(self.attributes * n * (n - 1) // 2),
        }

    def listed(self, split: str) -> np.ndarray:
        """Pair numbers of a split; each is two comparisons."""
        return self._listed[split]

    @cached_property
    def _pairs(self) -> dict[int, np.ndarray]:
        """Places of the two entities in the pool, int64[2, pairs], by size of the pool."""
        sizes = {self.id_entities, self.ood_entities}
        return {n: np.stack(np.triu_indices(n, 1)) for n in sizes}

    @property
    def difficulties(self) -> tuple[int, ...]:
        """A difficulty counts the values that are needed: 1 for a fact, 2 for a comparison."""
        return (1, 2)

    def difficulties_of(self, split: str) -> tuple[int, ...]:
        """Only training has difficulty 1, since every fact is trained on."""
        return (1, 2) if split == "train" else (2,)

    def count(self, split: str, difficulty: int) -> int:
        return self.world["value"].size if difficulty == 1 else 2 * len(self.listed(split))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        names = (("e", self.entities), ("a", self.attributes), ("v", self.values))
        return Vocabulary.build([*SIGNS, *(f"{x}{i}" for x, n in names for i in range(n))])

    @property
    def vocabulary_size(self) -> int:
        return 4 + self.entities + self.attributes + self.values

    def sketch(self) -> Task:
        """As many comparisons for each fact as here, of which every world of this kind has enough.

        Beyond a hundred a fact is so rare that their number makes no difference.
        """
        phi = min(self.phi * (1 - self.ood) / (1 - SKETCH_OOD), 100.0)
        return self.with_fields(
            entities=300, attributes=10, values=2, phi=phi, ood=SKETCH_OOD, held_out=2
        )

    @property
    def world_bytes(self) -> int:
        names = 200 * (self.entities + self.attributes) + 280 * self.values
        drawn = self._trained_pairs + self.held_out
        pairs = bytes_of_choice(self.attributes * self.id_pairs, drawn)
        return names + 16 * self.entities * (self.attributes + self.entities) + pairs

    @property
    def context_length(self) -> int:
        return 6 if self.cot else 4

    def sample(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        split: str = "train",
        difficulty: int | None = None,
        index: int | None = None,
    ) -> Batch:
        """Documents of a split; every fact and comparison is equally likely in training."""
        self.check_arguments(split, difficulty)
        known = self.difficulties_of(split) if difficulty is None else (difficulty,)
        facts = self.count(split, 1) if 1 in known else 0
        total = facts + (self.count(split, 2) if 2 in known else 0)
        if split == "train" or n > total:
            place = rng.integers(0, total, n)
        else:
            place = rng.choice(total, n, replace=False)
        compared = place >= facts
        number = np.where(compared, place - facts, 0)
        attribute, e1, e2 = self._compared(split, number // 2)
        swapped = number % 2 == 1
        e1, e2 = np.where(swapped, e2, e1), np.where(swapped, e1, e2)
        a, e = np.divmod(np.where(compared, 0, place), self.entities)
        return self.documents(
            np.where(compared, attribute, a), np.where(compared, e1, e), np.where(compared, e2, -1)
        )

    def _compared(self, split: str, place: np.ndarray) -> tuple[np.ndarray, ...]:
        """Attribute and two entities of the pairs at these places of a split's list."""
        pool = self.pool(split)
        pairs = self._pairs[pool.shape[1]]
        attribute, pair = np.divmod(self.listed(split)[place], pairs.shape[1])
        first, second = pool[attribute, pairs[:, pair]]
        return attribute, first, second

    def documents(self, attribute: np.ndarray, e1: np.ndarray, e2: np.ndarray) -> Batch:
        """Comparisons of `e1` with `e2` by an attribute; a fact about `e1` where `e2` is -1."""
        value, compared = self.world["value"], e2 >= 0
        v1, v2 = value[attribute, e1], np.where(compared, value[attribute, e2], -1)
        first_e = 1 + len(SIGNS)
        first_a = first_e + self.entities
        first_v = first_a + self.attributes
        sign = np.sign(v1 - v2) + 1
        of, both = first_a + attribute, np.stack([v1, v2], axis=1) + first_v
        entities = np.stack([e1, e2], axis=1) + first_e
        pieces: list[Piece] = [
            ("", np.where(compared, of, 0)[:, None]),
            ("entity", entities[:, :1]),
            ("other", np.where(compared, entities[:, 1], 0)[:, None]),
            ("", np.where(compared, 0, of)[:, None]),
        ]
        pieces += [("steps", np.where(compared[:, None], both, 0))] if self.cot else []
        pieces.append(("result", np.where(compared, 1 + sign, first_v + v1)[:, None]))
        latents = {
            "attribute": attribute,
            "entity": e1,
            "other": e2,
            "value": v1,
            "other_value": v2,
        }
        return write_question(pieces, latents, 1 + compared)

    def is_correct(self, batch: Batch, generated: np.ndarray) -> np.ndarray:
        return result_is_right(batch, generated)

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """Best guesses over the pairs of entities that a split may compare.

        `majority`: the commonest sign of each attribute; `one_entity`: from the attribute and the
        value of one of the two; `record`, of two entities: which of them came out greater more
        often in training, the majority where neither did, without any of their values. For facts
        (difficulty 1): the commonest value of the attribute.
        Without a difficulty: the mean, weighted as the split's documents are.
        """
        self.check_arguments(split, difficulty)
        known = self.difficulties_of(split) if difficulty is None else (difficulty,)
        counts = [self.count(split, k) for k in known]
        every = [self._floors(split, k) for k in known]
        return {
            name: sum(n * f[name] for n, f in zip(counts, every, strict=True)) / sum(counts)
            for name in every[0]
        }

    def _floors(self, split: str, entities: int) -> dict[str, float]:
        value = self.world["value"]
        if entities == 1:
            most = [np.bincount(row).max() for row in value]
            names = ("majority", "one_entity", "record")
            return dict.fromkeys(names, float(np.mean(most)) / self.entities)
        found = []
        for row, pool in zip(value, self.pool(split), strict=True):
            counts = np.bincount(row[pool], minlength=self.values)
            below = counts.cumsum() - counts
            above = len(pool) - below - counts
            # by value of the first entity: how often it is greater, equal, less
            signs = counts * np.stack([below, counts - 1, above])
            ordered = len(pool) * (len(pool) - 1)
            found.append((signs.sum(1).max() / ordered, signs.max(0).sum() / ordered))
        majority, one_entity = np.mean(found, axis=0)
        return {
            "majority": float(majority),
            "one_entity": float(one_entity),
            "record": record_guess(value.shape, self._signs("train"), self._signs(split)),
        }

    def _signs(self, split: str) -> tuple[np.ndarray, ...]:
        """Attribute, two entities and the sign of the first against the second, of every pair."""
        attribute, e1, e2 = self._compared(split, np.arange(len(self.listed(split))))
        value = self.world["value"]
        return attribute, e1, e2, np.sign(value[attribute, e1] - value[attribute, e2])

    def information_bits(self) -> float:
        """A·E·log2 V bits, those of all values."""
        return self.attributes * self.entities * log2(self.values)
