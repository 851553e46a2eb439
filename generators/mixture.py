"""Several tasks in one training set, in shares that may change from phase to phase.

Legend: B documents, T tokens, V tokens of the merged vocabulary, C components.
"""

from dataclasses import replace
from functools import cached_property
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from generators.batch import Batch, stacked
from generators.plugins import nearest
from generators.streams import Stream, generator
from generators.support.component_schedule import dealt, documents_until, whole_shares
from generators.support.components import Component, Name, useful_and_junk
from generators.task import Task
from generators.vocabulary import BOS, Vocabulary

#: up to here the tokens of all components are compared
COUNTED_TOKENS = 300_000


class Mixture(Task):
    """Documents of several tasks, each in its share, over one vocabulary and in one world.

    Tokens that tasks have in common are one token. All draw their worlds from one seed: equal
    settings mean the same facts, and `apart_from` of biographies keeps names apart. Of any
    stretch of training documents each component has its share up to a document or two, its own
    documents are numbered without gaps, and so everything it shows comes once in each of its
    epochs. `weights` of a phase replace those of the components.

    The default is the question of Physics of Language Models 3.3 (2404.05405, §10): what do
    documents that are no use do to the memory of useful ones? Junk that is never repeated costs
    much of it, junk about few people little, and a token that tells useful documents
    (`domain_token`) most of the loss.

    >>> from generators.biographies import Biographies
    >>> useful = Component(task=Biographies(people=9), domain_token=True)
    >>> junk = Component(task=Biographies(people=90, apart_from=9), weight=3)
    >>> task = Mixture(components={"useful": useful, "junk": junk}).bind(0)
    >>> batch = task.sample(np.random.default_rng([0, 3, 0]), 4, index=0)
    >>> for row in batch.tokens:
    ...     print(task.vocabulary.decode(row[:6]))
    <bos> Miranda Belinda Duran joined Morales PLC
    <bos> Erica Gail Macdonald hails from
    <bos> Kaylee Angie Duran 's employer
    <useful> Jordan Richard Henry majored in

    The order in which components are written makes no difference.
    """

    version: ClassVar[int] = 1

    kind: Literal["mixture"] = "mixture"
    components: dict[Name, Component] = Field(
        default_factory=useful_and_junk, min_length=1, description="name -> task and weight"
    )
    exposures_of: str | None = Field(
        None, description="component whose exposures are counted; None: the only one that has any"
    )

    @field_validator("components")
    @classmethod
    def _in_order(cls, components: dict[str, Component]) -> dict[str, Component]:
        return dict(sorted(components.items()))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not any(c.weight for c in self.components.values()):
            raise ValueError(f"all weights of {', '.join(self.components)} are 0")
        for name, component in self.components.items():
            if isinstance(component.task, Mixture):
                raise ValueError(f"component {name} is a mixture; name its components here")
            if component.domain_token:
                self._check_domain_token(name)
        asked = self.exposures_of
        if asked is not None and asked not in self._repeated:
            hint = nearest(asked, self._repeated) or f"; those that have: {self._repeated or None}"
            raise ValueError(f"exposures_of {asked} is no component with exposures{hint}")
        return self

    def _check_domain_token(self, name: str) -> None:
        if not self.components[name].begins:
            raise ValueError(
                f"domain_token of {name}: documents of task {self.components[name].task.kind} do "
                f"not begin with {BOS}, whose place it takes"
            )
        for other, component in self.components.items():
            if f"<{name}>" in component.task.vocabulary.index:
                raise ValueError(
                    f"domain_token of {name}: <{name}> is a token of {other} already; "
                    "give the component another name"
                )

    @property
    def _repeated(self) -> list[str]:
        """Names of the components with exposures."""
        return [k for k, c in self.components.items() if c.task.items_per_exposure is not None]

    @cached_property
    def parts(self) -> dict[str, Task]:
        """Name -> bound task. Component numbers are even, since a task may use the next one too."""
        found = {}
        for i, (name, component) in enumerate(self.components.items()):
            task = component.task
            if self.world_seed is not None and task.world_seed is None:
                task = task.model_copy(update={"world_seed": self.world_seed})
            found[name] = task.bind(self.seed, component=2 * i)
        return found

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.build(t for name in self.parts for t in self._tokens(name)[1:])

    def _tokens(self, name: str) -> list[str]:
        """A component's tokens in its own order, `<pad>` first, by their names in the mixture."""
        tokens = list(self.parts[name].vocabulary.tokens)
        if self.components[name].domain_token:
            tokens[tokens.index(BOS)] = f"<{name}>"
        return tokens

    @cached_property
    def _ids(self) -> dict[str, np.ndarray]:
        return {name: self.vocabulary.ids(self._tokens(name)) for name in self.parts}

    @cached_property
    def occurring(self) -> np.ndarray:
        """The tokens that documents of any component can have."""
        return self.vocabulary.among(*(self._ids[k][t.occurring] for k, t in self.parts.items()))

    def ids(self, name: str) -> np.ndarray:
        """All ids of the mixture, int32[V], those of a component's tokens first, in its order."""
        own = self._ids[name]
        others = np.setdiff1d(np.arange(len(self.vocabulary), dtype=np.int32), own)
        return np.concatenate([own, others])

    @property
    def vocabulary_size(self) -> int:
        """From above, as if no two components shared a token, where they have very many."""
        most = sum(part.vocabulary_size for part in self.parts.values())
        return len(self.vocabulary) if most <= COUNTED_TOKENS else most

    def sketch(self) -> Task:
        """Of the sketches of its components, in their shares."""
        parts = {name: part.task.sketch() for name, part in self.components.items()}
        return self.with_fields(
            components={
                name: component.model_copy(update={"task": parts[name], "domain_token": False})
                for name, component in self.components.items()
            }
        )

    @property
    def world_bytes(self) -> int:
        merged = 200 * sum(part.vocabulary_size for part in self.parts.values())
        return super().world_bytes + merged

    @property
    def context_length(self) -> int:
        return max(task.context_length for task in self.parts.values())

    @property
    def splits(self) -> tuple[str, ...]:  # pyrefly: ignore[bad-override]
        """The splits of all components."""
        return tuple(dict.fromkeys(s for task in self.parts.values() for s in task.splits))

    @property
    def weighable(self) -> tuple[str, ...]:
        """Names of the components."""
        return tuple(self.components)

    def _shares(self, weights: dict[str, float] | None = None) -> tuple[int, ...]:
        """The weights of the components as whole numbers."""
        if weights is None:
            weights = {name: c.weight for name, c in self.components.items()}
        return whole_shares(tuple(weights.get(name, 0.0) for name in self.components))

    @property
    def _stretches(self) -> list[tuple[int, tuple[int, ...]]]:
        """(first document, shares) of the phases."""
        found = [(first, self._shares(weights)) for first, weights in self._phases]
        return found if found and found[0][0] == 0 else [(0, self._shares()), *found]

    def documents_by_part(self, documents: int) -> dict[str, int]:
        counts = np.zeros(len(self.components), np.int64)
        stretches = self._stretches
        ends = [*(first for first, _ in stretches[1:]), documents]
        for (first, shares), end in zip(stretches, ends, strict=True):
            counts += dealt(max(min(end, documents) - first, 0), shares)
        return dict(zip(self.components, counts.tolist(), strict=True))

    @property
    def counted(self) -> str | None:
        """`exposures_of`, or the only component with exposures."""
        only = self._repeated[0] if len(self._repeated) == 1 else None
        return self.exposures_of or only

    def documents_of(self, exposures: int) -> int:
        """Training documents after which the counted component has had so many exposures.

        Raises:
            ValueError: none is counted, or its weight is 0.
        """
        name = self.counted
        if name is None:
            if not self._repeated:
                raise ValueError("no component has exposures; use until_step")
            raise ValueError(
                f"{' and '.join(self._repeated)} have exposures of their own; say whose are "
                "counted in task.exposures_of, or use until_step"
            )
        per_exposure = self.parts[name].items_per_exposure
        assert per_exposure is not None
        first, shares = self._stretches[-1]
        wanted = exposures * per_exposure - self.documents_by_part(first)[name]
        part = list(self.components).index(name)
        if wanted > 0 and not shares[part]:
            raise ValueError(f"{name}, whose exposures are counted, has weight 0; use until_step")
        return first + (documents_until(wanted, part, shares) if wanted > 0 else 0)

    @property
    def items_per_exposure(self) -> int | None:
        """Documents in the first exposure of the counted component, None where there is none."""
        counts = self.counted is not None and self.components[self.counted].weight
        unphased = self if not self._phases else self.weighted(0, None)
        return unphased.documents_of(1) if counts else None

    def information_bits(self) -> float | None:
        """Sum over the components; what two of them share counts twice."""
        bits = [b for t in self.parts.values() if (b := t.information_bits()) is not None]
        return sum(bits) if bits else None

    def training_batch(self, rng: np.random.Generator, n: int, index: int) -> Batch:
        """n documents of training, of each component as many as its phase says."""
        return self.sample(rng, n, index=index)

    def sample(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        split: str = "train",
        difficulty: int | None = None,
        index: int | None = None,
    ) -> Batch:
        """Documents, ordered by component; the latent `component` is the number of each one's.

        The first component draws from `rng` itself, so that a mixture of one is that task; the
        others draw from streams of their own. Without an index, and in the held-out splits, the
        component of each document is drawn as well.
        """
        self.check_arguments(split, difficulty)
        step = int(rng.integers(2**63)) if len(self.parts) > 1 else 0
        if split == "train" and index is not None:
            before, after = self.documents_by_part(index), self.documents_by_part(index + n)
            counts = [after[name] - before[name] for name in self.parts]
        else:
            before, counts = {}, self._drawn_counts(rng, n, split)
        batches = []
        for i, (name, count) in enumerate(zip(self.parts, counts, strict=True)):
            own = generator(self.seed, Stream.TRAIN, step, component=2 * i) if i else rng
            if count:
                part = self.parts[name].sample(own, count, split=split, index=before.get(name))
                batches.append(self._merged(name, part, i))
        return stacked(batches)

    def _drawn_counts(self, rng: np.random.Generator, n: int, split: str) -> list[int]:
        """Documents of each component that has the split, by share; equal shares if all are 0."""
        has = np.array([split in task.splits for task in self.parts.values()])
        weights = np.array(self._shares(), float) * has
        weights = weights if weights.any() else has.astype(float)
        return rng.multinomial(n, weights / weights.sum()).tolist()

    def _merged(self, name: str, batch: Batch, number: int) -> Batch:
        """The same documents in the ids of the merged vocabulary."""
        latents = {**batch.latents, "component": np.full(len(batch), number, np.int32)}
        return replace(batch, tokens=self._ids[name][batch.tokens], latents=latents)

    def is_correct(self, batch: Batch, generated: np.ndarray) -> np.ndarray:
        """Each component judges its own answers."""
        right = np.zeros(len(batch), bool)
        for i, (name, task) in enumerate(self.parts.items()):
            rows = batch.latents["component"] == i
            if rows.any():
                back = np.argsort(self.ids(name)).astype(np.int32)
                own = replace(batch.rows(rows), tokens=back[batch.tokens[rows]])
                right[rows] = task.is_correct(own, back[generated[rows]])
        return right

    def floors(self, difficulty: int | None = None, split: str = "test") -> dict[str, float]:
        """Floors `<component>.<name>` of the components that have the split."""
        self.check_arguments(split, difficulty)
        return {
            f"{name}.{floor}": value
            for name, task in self.parts.items()
            if split in task.splits
            for floor, value in task.floors(None, split).items()
        }
