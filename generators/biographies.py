"""Biographies with values of known entropy: bioS (Physics of Language Models 3.1 and 3.3).

Legend: B documents, T tokens, N people, A = 6 attributes (in the order of `ATTRIBUTES`).
"""

from functools import cached_property
from math import log2
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.exposures import Exposures
from generators.pools import Pools, PoolSize, load_pools
from generators.support.people import (
    People,
    draw_world,
    person_tokens,
    pronoun_tokens,
    words_of,
)
from generators.support.sentences import (
    EMPLOYER_FIRST_ORDERS,
    NAME_TOKENS,
    ORDERS,
    Layout,
    SentenceTable,
    closing_tokens,
    every_sentence,
    lay_out,
    mentions,
    sentence_table,
)
from generators.support.strings import bytes_of_choice
from generators.task import Batch, Task
from generators.templates import ATTRIBUTES, PRONOUNS, available
from generators.vocabulary import BOS, Vocabulary

#: fixed texts of which the lengths are looked at themselves
FEW_TEXTS = 10_000


class Biographies(Exposures):
    """Six sentences about each of N people; what they say is to be remembered.

    Names are unique; every value is drawn uniformly and independently from its pool, except
    that a company decides its city. The pronoun expresses the gender. Templates and the order
    of the sentences are redrawn at every exposure unless `versions` fixes them: 1 is
    bioS_simple, M with `permute: false` is multiM, with `permute` multiM+permute, and P with
    `same_sentences` permuteP. `name_last` turns each text round, as reverse6 of Part 3.2 does.

    >>> task = Biographies(people=9, permute=False, templates=1).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 3, 0]), 1, index=0)
    >>> for text in task.vocabulary.decode(batch.tokens[0]).split(" . "):
    ...     print(text)
    <bos> Ryan Jenny Huang was born on August 12 1974
    he was born in Adamsland, NV
    he studied at Clearbrook Institute of Technology
    he majored in Political Science
    he worked for Douglas and Sons
    he worked in North Madisonside, PA .
    >>> {name: span[0].tolist() for name, span in batch.spans.items() if "birth" in name}
    {'birth_date': [7, 10], 'birth_city': [15, 16]}

    Everything after `<bos>` is predicted. Values are one token each; dates and names are three.
    """

    version: ClassVar[int] = 1
    splits: ClassVar[tuple[str, ...]] = ("train",)

    kind: Literal["bios"] = "bios"
    people: int = Field(1000, ge=1, description="N, people of the world")
    pools: PoolSize = Field("small", description="size of the pools of names and values")
    templates: int = Field(4, ge=1, description="first ones of each attribute's file")
    versions: int | None = Field(
        None, ge=1, description="fixed texts per person; None: a new text at every exposure"
    )
    permute: bool = Field(True, description="sentences in random order")
    same_sentences: bool = Field(
        False, description="a person's versions differ in the order of the sentences alone"
    )
    fullname: bool = Field(False, description="the full name in every sentence, no pronouns")
    employer_first: bool = Field(
        True, description="the employer comes before its city, which would give it away"
    )
    reversed_date: bool = Field(False, description="every birth date as day, month, year")
    name_last: bool = Field(
        False, description="the name only in a last sentence, after all that is told of it"
    )
    apart_from: int = Field(
        0, ge=0, description="share no name with the bios task of so many people and this seed"
    )

    @model_validator(mode="after")
    def _enough_names_and_templates(self) -> Self:
        names = load_pools(self.pools).names - self.apart_from
        if self.people > names:
            larger = " or use pools: full" if self.pools == "small" else ""
            raise ValueError(
                f"people {self.people} is more than the {names} full names of the {self.pools} "
                f"pools; ask for at most {names} people{larger}"
            )
        if self.same_sentences and (self.versions is None or not self.permute):
            raise ValueError(
                "same_sentences needs versions (how many orders) and permute, got "
                f"versions {self.versions}, permute {self.permute}"
            )
        if self.name_last and self.fullname:
            raise ValueError("name_last leaves no name for fullname to repeat; choose one of them")
        if self.templates > available():
            raise ValueError(
                f"templates {self.templates} is more than there are; "
                f"ask for at most {available()} per attribute"
            )
        return self

    @cached_property
    def values(self) -> Pools:
        """The pools that names and values are drawn from."""
        return load_pools(self.pools)

    @cached_property
    def world(self) -> People:
        """The hidden facts."""
        return self._draw_people()[0]

    def _draw_people(self) -> tuple[People, np.random.Generator]:
        """The people, and the generator as it stands once the facts are drawn: texts come next."""
        return draw_world(self.world_generator, self.people, self.values, self.apart_from)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        pronouns = tuple(word for pair in self.pronouns.values() for word in pair)
        return words_of(self.values, self.templates, pronouns, self.name_last)

    @property
    def pronouns(self) -> dict[str, tuple[str, str]]:
        """Grammatical form -> the two pronouns of that form, for the forms that occur."""
        if self.fullname:
            return {}
        return {mention: PRONOUNS[mention] for mention in mentions(self.templates)}

    @cached_property
    def _sentences(self) -> SentenceTable:
        return sentence_table(self.vocabulary, self.templates)

    @cached_property
    def _closing(self) -> np.ndarray | None:
        return closing_tokens(self.vocabulary) if self.name_last else None

    @cached_property
    def occurring(self) -> np.ndarray:
        """The names and values of these people, and the words of the texts that there can be."""
        if self.versions is None:  # every text there can be, once about each gender there is
            orders = EMPLOYER_FIRST_ORDERS if self.employer_first else ORDERS
            texts = every_sentence(orders[: None if self.permute else 1], self.templates)
            who = np.unique(self.world.facts["gender"], return_index=True)[1]
            which, template = (np.concatenate([x] * len(who)) for x in texts)
        else:
            (which, template), who = self._fixed_texts, np.arange(self.people)
        people, told = np.repeat(who, len(which) // len(who)), [*self._tokens.values()]
        for i in range(0, len(people), 4096):
            a, b, c = (x[i : i + 4096] for x in (people, which, template))
            told.append(np.unique(self._written(a, b, c, self.employer_first).tokens))
        return self.vocabulary.among(*told)

    def sketch(self) -> Task:
        """About other people; as if every text were new where the fixed ones are many."""
        if self.versions and self.versions * self.people + self.apart_from <= FEW_TEXTS:
            return self
        return self.with_fields(people=1000, apart_from=0, versions=None, same_sentences=False)

    @property
    def world_bytes(self) -> int:
        drawn = max(bytes_of_choice(self.values.names, n) for n in (self.people, self.apart_from))
        texts = self.people * (self.versions or 0)
        return max(drawn, 215 * self.people + 9 * texts) + 8 * self.apart_from

    @property
    def context_length(self) -> int:
        orders = EMPLOYER_FIRST_ORDERS if self.employer_first else ORDERS
        openers = np.unique(orders[:, 0]) if self.permute else orders[0, :1]
        return 1 + self._sentences.longest(openers, self.fullname, self.name_last)

    @property
    def items_per_exposure(self) -> int:
        """N, the number of people."""
        return self.people

    @property
    def log2_names(self) -> float:
        """log2 N0, bits of a full name drawn from the pools."""
        return log2(self.values.names)

    @property
    def value_bits(self) -> dict[str, float]:
        """Bits of each independent value of one person; no gender where no pronoun tells it."""
        bits = self.values.value_bits
        return {name: b for name, b in bits.items() if name != "gender" or not self.fullname}

    @property
    def log2_values(self) -> float:
        """log2 S0, bits of one person's values."""
        return sum(self.value_bits.values())

    def information_bits(self) -> float:
        """N·log2(N0/N) + N·log2 S0 (2404.05405, definition 4.3)."""
        return self.people * (self.log2_names - log2(self.people) + self.log2_values)

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
        return self.write(rng, self.items(rng, n, index))

    def write(
        self, rng: np.random.Generator, people: np.ndarray, *, employer_first: bool | None = None
    ) -> Batch:
        """One biography for each person number in int64[B].

        Args:
            employer_first: overrides the field; the capacity probe needs it True.
        """
        if employer_first is None:
            employer_first = self.employer_first
        which, template = self._texts(rng, people)
        return self._written(people, which, template, employer_first)

    def _written(
        self, people: np.ndarray, which: np.ndarray, template: np.ndarray, employer_first: bool
    ) -> Batch:
        """Biographies int[B] by rows of the orders, int[B], and templates, int[B, A]."""
        orders = (EMPLOYER_FIRST_ORDERS if employer_first else ORDERS)[which]
        in_order = np.take_along_axis(template, orders, axis=1)
        layout = lay_out(self._sentences, orders, in_order, self.fullname, self._closing)
        self._fill(layout, people, self._sentences.dates(self.reversed_date)[template[:, 0]])
        latents = {name: fact[people] for name, fact in self.world.facts.items()}
        return Batch(
            layout.tokens,
            layout.inside,
            layout.spans(fullname=self.fullname, name_last=self.name_last),
            {"person": people, **latents},
            np.zeros(len(people), np.int32),
        )

    def _texts(self, rng: np.random.Generator, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row of ORDERS, int[B], and the template number of each attribute, int[B, A]."""
        if self.versions is None:
            return self._draw_texts(rng, len(people))
        texts = people * self.versions + rng.integers(0, self.versions, len(people))
        which, template = self._fixed_texts
        return which[texts], template[texts]

    def _draw_texts(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        orders = len(ORDERS) if self.permute else 1
        template = rng.integers(0, self.templates, (n, len(ATTRIBUTES)), np.uint8)
        return rng.integers(0, orders, n, np.uint16), template

    @cached_property
    def _fixed_texts(self) -> tuple[np.ndarray, np.ndarray]:
        """Order and templates of every fixed text: all versions of person 0, then of person 1, …"""
        assert self.versions is not None
        _, rng = self._draw_people()
        which, template = self._draw_texts(rng, self.people * self.versions)
        if self.same_sentences:
            template = np.repeat(template[:: self.versions], self.versions, axis=0)
        return which, template

    @cached_property
    def _tokens(self) -> dict[str, np.ndarray]:
        return person_tokens(self.world, self.values, self.vocabulary)

    @cached_property
    def _pronoun_tokens(self) -> np.ndarray:
        return pronoun_tokens(self.vocabulary)

    def _fill(self, layout: Layout, people: np.ndarray, date_order: np.ndarray) -> None:
        """Writes the first tokens, the mentions and the values into their blanks, in place."""
        tokens, rows = layout.tokens, np.arange(len(people))[:, None]
        three = np.arange(NAME_TOKENS)
        tokens[:, 0] = self.vocabulary.id(BOS)
        named = layout.start if self.fullname else layout.name[:, None]
        columns = named[:, :, None] + three
        tokens[rows[:, :, None], columns] = self._tokens["name"][people][:, None]
        if not self.fullname:
            first = 0 if self.name_last else 1
            gender = self.world.facts["gender"][people][:, None]
            whose = layout.whose[:, first:]
            tokens[rows, layout.start[:, first:]] = self._pronoun_tokens[whose, gender]
        date = np.take_along_axis(self._tokens["date"][people], date_order, axis=1)
        tokens[rows, layout.value[:, :1] + three] = date
        tokens[rows, layout.value[:, 1:]] = self._tokens["values"][people]
