"""bioD: facts whose diversity, length and number are dials (Physics of Language Models 3.3).

Legend: B documents, N people, K attributes, C chunks of a value, D diversity, L tokens of a
chunk, T letters.
"""

from functools import cached_property
from math import log2
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from generators.exposures import Exposures
from generators.support.strings import bytes_of_strings, distinct_strings, fewer_strings
from generators.task import Batch, Task
from generators.vocabulary import BOS, Vocabulary

#: strings there have to be for each that an attribute has, for D to be far below T^L
RARE = 8


class BioD(Exposures):
    """K attributes of each of N people, every value C chunks from the attribute's own D strings.

    Names are different strings of `name_length` letters. Each attribute has D different strings
    of L out of T letters; each chunk of a value is one of them, uniformly and independently.
    A document is the name and, in an order redrawn at every exposure, each attribute's token
    followed by its value. Definition 2.2 of 2404.05405, with one token for the attribute.

    >>> task = BioD(people=4, attributes=3, chunks=2, diversity=5, length=2, alphabet=8).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 3, 0]), 1, index=0)
    >>> print(task.vocabulary.decode(batch.tokens[0]))
    <bos> n33 n26 n46 a2 1 5 1 5 a1 7 3 4 6 a0 7 6 0 3
    >>> {name: span[0].tolist() for name, span in batch.spans.items()}
    {'name': [1, 4], 'a0': [15, 19], 'a1': [10, 14], 'a2': [5, 9]}

    Everything after `<bos>` is predicted.
    """

    version: ClassVar[int] = 1
    splits: ClassVar[tuple[str, ...]] = ("train",)

    kind: Literal["biod"] = "biod"
    people: int = Field(1000, ge=1, description="N")
    attributes: int = Field(8, ge=1, description="K")
    chunks: int = Field(1, ge=1, description="C, of each value")
    diversity: int = Field(64, ge=1, description="D, different chunks of an attribute")
    length: int = Field(1, ge=1, description="L, tokens of a chunk")
    alphabet: int = Field(64, ge=2, description="T, letters of the chunks")
    name_length: int = Field(3, ge=1, description="tokens of a name")
    name_alphabet: int = Field(64, ge=2, description="letters of the names")
    permute: bool = Field(True, description="attributes in random order")

    @model_validator(mode="after")
    def _enough_strings(self) -> Self:
        if fewer_strings(self.people, self.name_length, self.name_alphabet):
            raise ValueError(
                f"people {self.people} is more than the {self.names} names of {self.name_length} "
                f"out of {self.name_alphabet} letters; raise name_length or name_alphabet"
            )
        if fewer_strings(self.diversity, self.length, self.alphabet):
            raise ValueError(
                f"diversity {self.diversity} is more than the {self.alphabet**self.length} chunks "
                f"of {self.length} out of {self.alphabet} letters; raise length or alphabet"
            )
        return self

    @property
    def names(self) -> int:
        """N0, the number of possible names."""
        return self.name_alphabet**self.name_length

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.build(
            [BOS]
            + [f"name:n{i}" for i in range(self.name_alphabet)]
            + [f"attribute:a{k}" for k in range(self.attributes)]
            + [f"letter:{t}" for t in range(self.alphabet)]
        )

    @property
    def value_length(self) -> int:
        """C·L, the number of tokens of a value."""
        return self.chunks * self.length

    @property
    def vocabulary_size(self) -> int:
        return 2 + self.name_alphabet + self.attributes + self.alphabet

    def sketch(self) -> Task:
        """All documents are of one length."""
        few = min(self.people, max(1, 1_000_000 // self.context_length), 1000)
        names = min(self.name_alphabet, 1000)
        return self.with_fields(people=few, diversity=1, alphabet=2, name_alphabet=names)

    @property
    def world_bytes(self) -> int:
        words = 200 * (self.alphabet + self.name_alphabet + self.attributes)
        sets = bytes_of_strings(self.diversity, self.length, self.alphabet)
        sets += 16 * self.attributes * self.diversity * self.length
        names = bytes_of_strings(self.people, self.name_length, self.name_alphabet)
        value = 8 * self.chunks + 10 * self.value_length + 4
        told = 16 + 8 * self.name_length + self.attributes * value
        return words + sets + names + self.people * told

    @property
    def context_length(self) -> int:
        return 1 + self.name_length + self.attributes * (1 + self.value_length)

    @property
    def items_per_exposure(self) -> int:
        """N, the number of people."""
        return self.people

    @cached_property
    def world(self) -> dict[str, np.ndarray]:
        """`names` int64[N, name_length], `sets` int64[K, D, L], `values` int64[N, K, C] in sets."""
        rng = self.world_generator()
        names = distinct_strings(rng, self.people, self.name_length, self.name_alphabet)
        sets = [
            distinct_strings(rng, self.diversity, self.length, self.alphabet)
            for _ in range(self.attributes)
        ]
        values = rng.integers(0, self.diversity, (self.people, self.attributes, self.chunks))
        return {"names": names, "sets": np.stack(sets), "values": values}

    @cached_property
    def occurring(self) -> np.ndarray:
        """The letters of these names and values; every attribute is told of everybody."""
        return self.vocabulary.among(self.vocabulary.ids([BOS]), *self._tokens.values())

    @property
    def set_bits(self) -> float:
        """K·D·log2(T^L/D), the bits of the attributes' sets of chunks."""
        per_chunk = self.length * log2(self.alphabet) - log2(self.diversity)
        return self.attributes * self.diversity * per_chunk

    @property
    def value_bits(self) -> float:
        """K·C·log2 D, the bits of one person's values."""
        return self.attributes * self.chunks * log2(self.diversity)

    def caveats(self) -> tuple[str, ...]:
        """Where definition 4.1 is left: it asks for N ≥ D·log N and for D far below T^L.

        That is what its proof needs (theorem 3.2) for the bits about an attribute's strings to be
        few beside those about people. Taken as N ≥ D·log2 N and T^L ≥ 8·D. Where D is T^L there is
        nothing to tell about the strings, and the bits about people are exact for any N.
        """
        N, D, strings = self.people, self.diversity, self.alphabet**self.length
        most = max(1, int(N / max(log2(N), 1)))
        if strings == D or (most >= D and strings >= RARE * D):
            return ()
        fits = min(D, most)
        length = self.length
        while self.alphabet**length < RARE * fits:
            length += 1
        said = [
            *[f"people {N} are fewer than D·log2 N = {D * log2(N):.0f}"] * (most < D),
            *[f"of {strings} strings of {self.length} letters {D} are used"] * (strings < RARE * D),
        ]
        return (
            f"task biod is outside the range of the definition of its bits (N ≥ D·log N and D far "
            f"below T^L): {' and '.join(said)}; inside are such as diversity {fits}, length "
            f"{length}, or diversity 16, length 2, alphabet 16 from 109 people on",
        )

    def information_bits(self) -> float:
        """N·log2(N0/N) + N·K·C·log2 D + K·D·log2(T^L/D) (2404.05405, proposition 2.3)."""
        names = log2(self.names) - log2(self.people)
        return self.people * (names + self.value_bits) + self.set_bits

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

    def write(self, rng: np.random.Generator, people: np.ndarray) -> Batch:
        """One document for each person number in int64[B]."""
        B, K, size = len(people), self.attributes, 1 + self.value_length
        place = np.broadcast_to(np.arange(K, dtype=np.int32), (B, K))
        if self.permute:
            place = rng.permuted(place, axis=1)
        head = 1 + self.name_length
        tokens = np.empty((B, self.context_length), np.int32)
        tokens[:, 0] = self.vocabulary.id(BOS)
        tokens[:, 1:head] = self._tokens["name"][people]
        body = tokens[:, head:].reshape(B, K, size)  # a copy: the columns are not contiguous
        body[np.arange(B)[:, None], place] = self._tokens["body"][people]
        tokens[:, head:] = body.reshape(B, -1)
        loss_mask = np.ones(tokens.shape, bool)
        loss_mask[:, 0] = False
        spans = {"name": np.broadcast_to(np.array([1, head], np.int32), (B, 2))}
        start = head + 1 + place * size
        values = np.stack([start, start + self.value_length], axis=2)
        spans |= {f"a{k}": values[:, k] for k in range(K)}
        return Batch(tokens, loss_mask, spans, {"person": people}, np.zeros(B, np.int32))

    @cached_property
    def _tokens(self) -> dict[str, np.ndarray]:
        """Token ids by person: `name` int32[N, name_length], `body` int32[N, K, 1 + C·L]."""
        names, sets, values = (self.world[key] for key in ("names", "sets", "values"))
        first_name, first_attribute, first_letter = (
            self.vocabulary.id(token) for token in ("name:n0", "attribute:a0", "letter:0")
        )
        K = np.arange(self.attributes)
        letters = sets.astype(np.int32)[K[:, None], values]  # [N, K, C, L]
        body = np.empty((self.people, self.attributes, 1 + self.value_length), np.int32)
        body[:, :, 0] = first_attribute + K
        body[:, :, 1:] = first_letter + letters.reshape(*body.shape[:2], -1)
        return {"name": (first_name + names).astype(np.int32), "body": body}
