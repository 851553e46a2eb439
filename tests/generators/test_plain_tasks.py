"""Every task draws the documents that plain Python, written one at a time, draws too."""

import random
from collections import Counter

import numpy as np
import pytest
from laws import chi_square
from plain_online_tasks import ONLINE
from plain_tasks import WORLDS, Plain
from scipy.stats import chi2

from generators.biod import BioD
from generators.biographies import Biographies
from generators.brevo import Brevo
from generators.comparison import Comparison
from generators.composition import Composition
from generators.copying import Copying
from generators.depo import Depo
from generators.extraction import Extraction
from generators.layered import Layered
from generators.mano import Mano
from generators.mixture import Component, Mixture
from generators.mqar import MQAR
from generators.multihop import MultiHop
from generators.operations import Operations
from generators.phop import PHop
from generators.plugins import choices
from generators.random_sequences import RandomSequences
from generators.retry import Retry
from generators.streams import Stream, generator
from generators.task import Task

PLAIN: dict[str, Plain] = {**WORLDS, **ONLINE}
N = 3000
PEOPLE = Biographies(people=6, templates=2)
SMALL: dict[str, Task] = {
    "bios": PEOPLE,
    "biod": BioD(people=5, attributes=3, chunks=2, diversity=3, length=2, alphabet=4),
    "random_sequences": RandomSequences(sequences=9, length=5, alphabet=6),
    "extraction": Extraction(biographies=PEOPLE, qa_ratio=0.4),
    "operations": Operations(biographies=Biographies(people=8, templates=2), questions=2),
    "multihop": MultiHop(entities=6, relations=3, hops=3, held_out=0.3),
    "retry": Retry(
        task=MultiHop(entities=6, relations=3, hops=3, held_out=0.3), tries=3, right=0.3
    ),
    "layered": Layered(people=20, relations=3, held_out=20, budget=0.3),
    "composition": Composition(
        entities=12, relations=5, out_degree=3, phi=1.5, held_out=0.1, ood=0.2
    ),
    "comparison": Comparison(entities=10, attributes=2, values=4, phi=2.0, ood=0.2, held_out=10),
    "mano": Mano(length=3, modulus=7),
    "depo": Depo(nodes=8, hops=3, symbols=5, longest=2, queries=3),
    "brevo": Brevo(nodes=9, symbols=3, shortest=2, longest=3),
    "phop": PHop(length=17, hops=4),
    "copy": Copying(length=5, shortest=4, symbols=10),
    "mqar": MQAR(pairs=3, fewest=2, length=16, keys=16, values=16, power=0.5),
    "mixture": Mixture(
        components={
            "a": Component(task=BioD(people=4, attributes=2), weight=2.0),
            "b": Component(task=RandomSequences(sequences=4, length=5)),
        }
    ),
}


def features(tokens: list[int], mask: list[int], answer: tuple[int, int]) -> list[tuple]:
    """The features by which the two samples are compared, each a class of a partition."""
    text = [0, *tokens]
    pairs = [("pair", i, text[i], t) for i, t in enumerate(tokens[:6])]
    ends = [("end", i, t) for i, t in enumerate(tokens[::-1][:4])]
    return [*pairs, *ends, ("length", len(tokens)), ("span", *answer), ("scored", *mask)]


def from_task(task: Task, seed: int = 0) -> list[list[tuple]]:
    batch = task.sample(generator(seed, Stream.TRAIN), N)
    lengths = (batch.tokens != 0).sum(1).tolist()
    none = np.full((N, 2), -1)
    spans = batch.spans.get("answer", none).tolist()
    return [
        features(row[:n], mask[:n], tuple(span))
        for row, mask, n, span in zip(
            batch.tokens.tolist(), batch.loss_mask.astype(int).tolist(), lengths, spans, strict=True
        )
    ]


def worst(ours: list[list[tuple]], plain: list[list[tuple]]) -> float:
    """Smallest p-value of chi-square tests, one for each kind of feature, that both are alike."""
    counts: dict[tuple, tuple[Counter, Counter]] = {}
    for which, documents in enumerate((ours, plain)):
        for document in documents:
            for feature in document:
                place = feature[: 1 + (feature[0] in ("pair", "end"))]
                counts.setdefault(place, (Counter(), Counter()))[which][feature] += 1
    found = []
    for a, b in counts.values():
        joint = np.array([[a[f], b[f]] for f in a | b], float)
        common = joint.sum(1) >= 20
        rare = joint[~common].sum(0)
        table = np.vstack([joint[common], rare]) if rare.sum() else joint
        expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
        statistic = float(chi_square(table, expected))
        found.append(float(chi2.sf(statistic, len(table) - 1)) if len(table) > 1 else 1.0)
    return min(found)


def from_plain(task: Task) -> list[list[tuple]]:
    write, rng = PLAIN[task.kind](task), random.Random(0)
    return [features(*write(rng)) for _ in range(N)]


def test_every_task_has_a_plain_version() -> None:
    assert set(PLAIN) == set(choices(Task, "generators")) == set(SMALL)


@pytest.mark.parametrize("kind", SMALL)
def test_plain_documents_are_those_of_the_task(kind: str) -> None:
    task = SMALL[kind].bind(0)
    assert worst(from_task(task), from_plain(task)) > 1e-5


@pytest.mark.parametrize("kind", ["bios", "multihop", "mano", "composition"])
def test_another_world_or_law_would_be_noticed(kind: str) -> None:
    other = {"mano": Mano(length=3, modulus=7, operators="+-")}.get(kind, SMALL[kind]).bind(1)
    assert worst(from_task(SMALL[kind].bind(0)), from_plain(other)) < 1e-12


def test_plain_multihop_writes_training_questions_and_no_others() -> None:
    task = MultiHop(entities=6, relations=4, hops=2, held_out=0.3).bind(0)
    allowed = task.documents(np.full(task.count("train", 2), 2), task.listed("train", 2)).tokens
    write, rng = PLAIN["multihop"](task), random.Random(0)
    found = {tuple(tokens) for tokens, _, _ in (write(rng) for _ in range(2000))}
    assert {t for t in found if len(t) == 5} == {tuple(row) for row in allowed.tolist()}
