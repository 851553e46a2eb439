"""Which multi-hop questions are held out: single ones, or whole strings of relations.

Legend: E entities, R relations, k hops. Question number e + E·s asks for the entity at the end of
the relation string s from entity e; `relation_strings` says how strings are numbered.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from generators.hashing import unit_hash

#: questions that are listed in full; above it, held-out ones are found by rejection
LISTED = 4_000_000
#: names of the splits, by number
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class QuestionSplits:
    """The splits of the E·R^k questions of each number of hops k ≥ 2, chosen by a hash.

    A share `held_out` of the questions is never in training: half of it is the validation split,
    half the test split. All single facts (k = 1) are in training.

    Attributes:
        whole_strings: strings are held out with all their entities, not single questions.
        salt: of the hash, which makes the held-out questions part of the world.
    """

    entities: int
    relations: int
    held_out: float
    whole_strings: bool
    salt: int = 0

    def check(self) -> None:
        """Raises ValueError where two hops leave too little to train on or to ask."""
        E, R, share = self.entities, self.relations, self.held_out
        questions = E * R**2
        if self.whole_strings:
            if 2 * self._held_out_strings(2) > R**2 - 1:
                raise ValueError(
                    f"held_out {share} of the {R**2} strings of two relations leaves none to train "
                    "on; raise relations, lower held_out or hold out questions"
                )
        elif questions * share < 4:
            raise ValueError(
                f"held_out {share} of the {questions} two-hop combinations leaves fewer than 4 to "
                "test on; raise held_out, entities or relations"
            )
        if questions * (1 - share) < 20:
            raise ValueError(
                f"held_out {share} of the {questions} two-hop combinations leaves fewer than 20 to "
                "train on; lower held_out, raise entities or relations"
            )

    def questions(self, hops: int) -> int:
        """E·R^k, over all splits."""
        return self.entities * self.relations**hops

    def _held_out_strings(self, hops: int) -> int:
        """Strings of relations in test, and as many in validation: one at least."""
        return max(1, round(self.held_out / 2 * self.relations**hops))

    @cached_property
    def _split_of_strings(self) -> dict[int, np.ndarray]:
        return {}

    def _every_string(self, hops: int) -> np.ndarray:
        """int8[R^k], the split of every string: those of the lowest hashes are held out.

        So their number is exact, and few strings never leave a split empty.
        """
        if hops not in self._split_of_strings:
            order = unit_hash(np.arange(self.relations**hops), self.salt + hops).argsort()
            n = self._held_out_strings(hops)
            split = np.zeros(len(order), np.int8)
            split[order[:n]], split[order[n : 2 * n]] = 2, 1
            self._split_of_strings[hops] = split
        return self._split_of_strings[hops]

    def split_of(self, hops: int, question: np.ndarray) -> np.ndarray:
        """int8[n], index into `SPLITS`, for question numbers int64[n] of one hop count."""
        if hops == 1:
            return np.zeros(len(question), np.int8)
        if self.whole_strings:
            question = question // self.entities
            if self.relations**hops <= LISTED:
                return self._every_string(hops)[question]
        u = unit_hash(question, self.salt + hops)
        return np.where(u < self.held_out / 2, 2, np.where(u < self.held_out, 1, 0)).astype(np.int8)

    @cached_property
    def _listed(self) -> dict[tuple[str, int], np.ndarray]:
        return {}

    def listed(self, split: str, hops: int) -> np.ndarray | None:
        """All question numbers of a split, int64[n]; None where there are too many to list."""
        if self.questions(hops) > LISTED:
            return None
        if (split, hops) not in self._listed:
            every = np.arange(self.questions(hops))
            which = self.split_of(hops, every)
            for number, name in enumerate(SPLITS):
                self._listed[name, hops] = every[which == number]
        return self._listed[split, hops]

    def draw(self, rng: np.random.Generator, n: int, split: str, hops: int) -> np.ndarray:
        """n question numbers; held-out ones without repetition as far as there are enough."""
        listed = None if split == "train" else self.listed(split, hops)
        if listed is not None:
            return rng.choice(listed, n, replace=n > len(listed))
        share = 1 - self.held_out if split == "train" else self.held_out / 2
        drawn = np.empty(0, np.int64)
        while len(drawn) < n:
            more = int(1.1 * (n - len(drawn)) / share) + 16
            candidates = rng.integers(0, self.questions(hops), more)
            wanted = self.split_of(hops, candidates) == SPLITS.index(split)
            drawn = np.concatenate([drawn, candidates[wanted]])
        return drawn[:n]
