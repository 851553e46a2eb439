"""Multi-hop facts without chain of thought: relations over entities, composed k times.

Legend: B documents, T tokens, E entities, R relations, K most hops.
"""

from functools import cached_property
from math import lgamma, log, log2
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.curriculum import Curriculum, hop_shares
from generators.support.memoriser import mean_of_shared
from generators.support.question_layout import result_is_right
from generators.support.question_splits import LISTED, QuestionSplits
from generators.support.relation_strings import answers_of_strings, memorised_floors, oracle_floors
from generators.task import Batch, Task
from generators.vocabulary import Vocabulary

#: answers to questions from which floors are estimated
FLOOR_CELLS = 50_000_000


class MultiHop(Curriculum):
    """Facts `r(e)` and questions `rk(… r1(e))`, answered at once.

    The world is one table of R relations over E entities, each a random function or a
    permutation. A document is `<k> e r1 … rk answer`; only the answer is scored. Every one-hop
    fact is in training. Of the combinations (e, r1 … rk) with k ≥ 2, a share `held_out` never
    is: half of it is the validation split, half the test split, chosen by a hash. `hold_out`
    says what is chosen: single `questions`, or whole `strings` r1 … rk with all their entities.

    >>> task = MultiHop(entities=8, relations=4, hops=2).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 3, 0]), 1, difficulty=2)
    >>> print(task.vocabulary.decode(batch.tokens[0])); print(batch.loss_mask[0].astype(int))
    <2> e2 r3 r3 e1
    [0 0 0 0 1]

    Permutations have the cleaner floor: without the entity every answer is equally likely,
    while random functions have a shrinking image that can be guessed from the relations. But the
    entities of one string of permutations have different answers, so that whoever memorised those
    in training can guess the others by exclusion. With whole strings held out there is nothing
    to exclude, and the floor of permutations is exactly 1/E.
    Follows 2405.15071 and 2505.17923 in spirit, at a size for minutes of training.
    """

    version: ClassVar[int] = 1
    former: ClassVar[dict[str, str]] = {"hold_out": "questions"}
    difficulty_name: ClassVar[str] = "hops"

    kind: Literal["multihop"] = "multihop"
    world: Literal["function", "permutation"] = Field(
        "function",
        description="what each relation is: any function of the entities, or a permutation of them",
    )
    entities: int = Field(32, ge=2, description="E, entities of the world")
    relations: int = Field(16, ge=1, description="R, relations of the world")
    hops: int = Field(3, ge=1, description="most hops in a question")
    held_out: float = Field(
        0.1, gt=0, lt=1, description="share of the combinations of 2 and more hops"
    )
    hold_out: Literal["questions", "strings"] = Field(
        "strings",
        description="what is held out: single questions, or strings of relations with all entities",
    )
    cot: bool = Field(False, description="the entities on the way are written before the answer")

    @model_validator(mode="after")
    def _countable(self) -> Self:
        """Refuses more combinations than int64 can number."""
        bits = log2(self.entities) + self.hops * log2(self.relations)
        if bits >= 63:
            most = int((62.9 - log2(self.entities)) / log2(max(self.relations, 2)))
            raise ValueError(
                f"hops {self.hops} of {self.relations} relations and {self.entities} entities make "
                f"2^{bits:.0f} questions, more than the 2^63 that can be numbered; at most "
                f"{most} hops can be"
            )
        return self

    @model_validator(mode="after")
    def _something_is_held_out(self) -> Self:
        if self.hops >= 2:
            QuestionSplits(**self._choice).check()
        hop_shares(self.hop_weights, self.difficulties)
        return self

    @cached_property
    def table(self) -> np.ndarray:
        """int32[R, E]: table[r, e] is r(e)."""
        rng = self.world_generator()
        shape = (self.relations, self.entities)
        if self.world == "permutation":
            order = np.broadcast_to(np.arange(self.entities, dtype=np.int32), shape)
            return rng.permuted(order, axis=1)
        return rng.integers(0, self.entities, shape, dtype=np.int32)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.build(
            [f"<{k}>" for k in range(1, self.hops + 1)]
            + [f"e{e}" for e in range(self.entities)]
            + [f"r{r}" for r in range(self.relations)]
        )

    @property
    def vocabulary_size(self) -> int:
        return 1 + self.hops + self.entities + self.relations

    def sketch(self) -> Task:
        """Documents are as long as they have hops."""
        fields = {"entities": 64, "relations": 1, "held_out": 0.1, "hold_out": "questions"}
        return self.with_fields(**fields)

    @property
    def world_bytes(self) -> int:
        words = 150 * (self.entities + self.relations)
        listed = (self.combinations(k) for k in self.difficulties[1:])
        most = max((n for n in listed if n <= LISTED), default=0)
        table = self.entities * self.relations
        guessed = min(self.combinations(self.hops), max(FLOOR_CELLS, table))
        return words + 8 * table + max(40 * most, 34 * guessed)

    @property
    def context_length(self) -> int:
        return self.hops + 3 + (self.hops - 1 if self.cot else 0)

    @property
    def difficulties(self) -> tuple[int, ...]:
        """A difficulty is a number of hops."""
        return tuple(range(1, self.hops + 1))

    def difficulties_of(self, split: str) -> tuple[int, ...]:
        """Only training has difficulty 1, since every fact is trained on."""
        return self.difficulties if split == "train" else self.difficulties[1:]

    def combinations(self, hops: int) -> int:
        """Questions of so many hops, over all splits: E·R^k."""
        return self.entities * self.relations**hops

    @property
    def _choice(self) -> dict[str, Any]:
        """What decides how the questions are split, but for the world."""
        return {
            "entities": self.entities,
            "relations": self.relations,
            "held_out": self.held_out,
            "whole_strings": self.hold_out == "strings",
        }

    @cached_property
    def _splits(self) -> QuestionSplits:
        salt = int(self.world_generator().bit_generator.random_raw())
        return QuestionSplits(**self._choice, salt=salt)

    def split_of(self, hops: int, combination: np.ndarray) -> np.ndarray:
        """0 train, 1 validation, 2 test, for combination numbers int64[n] of one hop count."""
        return self._splits.split_of(hops, combination)

    def listed(self, split: str, hops: int) -> np.ndarray | None:
        """All combination numbers of a split, int64[n]; None where there are too many to list."""
        return self._splits.listed(split, hops)

    def count(self, split: str, difficulty: int) -> int | None:
        listed = self.listed(split, difficulty)
        return None if listed is None else len(listed)

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
        combination = np.zeros(n, np.int64)
        for k in np.unique(hops):
            rows = hops == k
            combination[rows] = self._splits.draw(rng, int(rows.sum()), split, int(k))
        return self.documents(hops, combination)

    def documents(self, hops: np.ndarray, combination: np.ndarray) -> Batch:
        """The documents of combination numbers: the entity, then the relations, in base R."""
        n, hops = len(hops), hops.astype(np.int32)
        if self.combinations(self.hops) < 2**31:  # division is much faster
            combination = combination.astype(np.int32)
        tokens = np.zeros((n, self.context_length), np.int32)
        first_entity, first_relation = np.int32(1 + self.hops), 1 + self.hops + self.entities
        rest, entity = np.divmod(combination, self.entities, dtype=combination.dtype)
        entity = entity.astype(np.int32)
        tokens[:, 0] = hops
        tokens[:, 1] = first_entity + entity
        latents = {"hop.0": entity}
        table, flat = self.table.ravel(), tokens.ravel()
        result = hops + 2 + (hops - 1 if self.cot else 0)
        beginning = np.arange(0, tokens.size, tokens.shape[1])
        for k in range(self.hops):
            active = k < hops
            rest, relation = np.divmod(rest, self.relations, dtype=rest.dtype)
            tokens[:, 2 + k] = np.where(active, first_relation + relation, tokens[:, 2 + k])
            reached = table[relation * self.entities + entity]
            entity = np.where(active, reached, entity)
            latents[f"relation.{k + 1}"] = np.where(active, relation, -1).astype(np.int32)
            latents[f"hop.{k + 1}"] = np.where(active, entity, np.int32(-1))
            if self.cot:
                at = (beginning + 2 + hops + k)[active]
                flat[at] = first_entity + entity[active]
        flat[beginning + result] = first_entity + entity
        columns = np.arange(tokens.shape[1], dtype=np.int32)
        loss_mask = columns == result[:, None]
        if self.cot:
            loss_mask = (columns >= hops[:, None] + 2) & (columns <= result[:, None])
        spans = {
            "entity": np.broadcast_to(np.array([1, 2], np.int32), (n, 2)),
            "relations": _span(np.full_like(hops, 2), hops + 2),
            "answer": _span(hops + 2, result + 1),
        }
        if self.cot:
            spans["result"] = _span(result, result + 1)
        return Batch(tokens, loss_mask, spans, latents, hops)

    def is_correct(self, batch: Batch, generated: np.ndarray) -> np.ndarray:
        return (
            result_is_right(batch, generated) if self.cot else super().is_correct(batch, generated)
        )

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """What a model reaches that memorised the training questions and composes nothing.

        `relations` and `last_relation`: the commonest training answer to the same string or last
        relation; `exclusion`, of permutations: one of the answers that the string's training
        questions have not taken; `chance`: 1/E. Without a difficulty: the mean over the split's
        hop counts. In training, where the answers are known: as `oracle_floors`.
        """
        self.check_arguments(split, difficulty)
        if split == "train":
            return self.oracle_floors(difficulty, split)
        hops = self.difficulties_of(split) if difficulty is None else (difficulty,)
        return mean_of_shared([self._memorised(split, k) for k in hops])

    def oracle_floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """Best guesses that do not use the entity but know how all answers are distributed.

        `relations`: from all relations in order; `last_relation`: from the last one alone;
        `chance`: 1/E. Over the whole world, in which permutations give exactly 1/E. Training
        alone allows less for held-out questions, see `floors`.
        """
        self.check_arguments(split, difficulty)
        hops = self.difficulties_of(split) if difficulty is None else (difficulty,)
        return mean_of_shared([self._oracle[k] for k in hops])

    @cached_property
    def _memorised_floors(self) -> dict[tuple[str, int], dict[str, float]]:
        return {}

    def _memorised(self, split: str, hops: int) -> dict[str, float]:
        if (split, hops) not in self._memorised_floors:
            string, answer = self._answers[hops]  # [S], [S, E]
            which = self.split_of(
                hops, (string[:, None] * self.entities + np.arange(self.entities)).ravel()
            ).reshape(answer.shape)
            self._memorised_floors[split, hops] = memorised_floors(
                string // self.relations ** (hops - 1),
                answer,
                which == 0,
                which == self.splits.index(split),
                one_to_one=self.world == "permutation",
            )
        return self._memorised_floors[split, hops]

    @cached_property
    def _answers(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        return answers_of_strings(self.table, self.hops, FLOOR_CELLS, self.world_generator)

    @cached_property
    def _oracle(self) -> dict[int, dict[str, float]]:
        return {
            k: oracle_floors(answer, self.relations) for k, (_, answer) in self._answers.items()
        }

    def information_bits(self) -> float:
        """Bits in the table: R·E·log2 E for functions, R·log2 E! for permutations."""
        if self.world == "permutation":
            return self.relations * lgamma(self.entities + 1) / log(2)
        return self.relations * self.entities * log2(self.entities)


def _span(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    span = np.empty((len(start), 2), np.int32)
    span[:, 0], span[:, 1] = start, stop
    return span
