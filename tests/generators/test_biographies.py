"""Biographies: facts of known entropy, told completely, each person once per epoch."""

import hashlib
import re
from collections import Counter
from math import log2

import numpy as np
import pytest
from facts import fact, name
from laws import chi_square
from pydantic import ValidationError

from generators.biographies import EMPLOYER_FIRST_ORDERS, ORDERS, Biographies
from generators.pools import load_pools
from generators.streams import Stream, generator
from generators.support.people import draw_people
from generators.task import Batch
from generators.templates import ATTRIBUTES, FOLDER

VARIANTS = {
    "quick": Biographies(people=50),
    "all templates": Biographies(people=50, templates=44, pools="full", employer_first=False),
    "full name": Biographies(people=50, fullname=True),
    "single": Biographies(people=50, versions=1, permute=False),
    "multi5+permute": Biographies(people=50, versions=5),
    "one template": Biographies(people=50, templates=1),
}


def train_rng(step: int = 0) -> np.random.Generator:
    return generator(0, Stream.TRAIN, step)


def possible_sentences(task: Biographies, person: int, named: bool) -> dict[str, str]:
    """Sentence -> attribute, every way to tell one of the person's facts, by string formatting."""
    who, whose = (("he", "his"), ("she", "her"))[int(task.world.facts["gender"][person])]
    if named:
        who, whose = name(task, person), f"{name(task, person)} 's"
    found = {}
    for attribute in ATTRIBUTES:
        value = fact(task, attribute, person)
        month, day, year = value.split() if attribute == "birth_date" else ("", "", "")
        lines = (FOLDER / f"{attribute}.txt").read_text().splitlines()[: task.templates]
        for line in lines:
            values = {"month": month, "day": day, "year": year, attribute: value}
            found[line.format(who=who, whose=whose, **values)] = attribute
    return found


def sentences(task: Biographies, row: np.ndarray) -> list[str]:
    text = task.vocabulary.decode(row)
    assert text.startswith("<bos> ") and text.endswith(" .")
    return [f"{sentence} ." for sentence in text[len("<bos> ") : -2].split(" . ")]


@pytest.mark.parametrize("task", VARIANTS.values(), ids=VARIANTS.keys())
def test_documents_say_what_formatting_the_templates_says(task: Biographies) -> None:
    """Against strings: six sentences, each fact once, the name first, then the right pronouns."""
    task = task.bind(3)
    batch = task.sample(train_rng(), 100, index=0)
    for row, person in zip(batch.tokens, batch.latents["person"], strict=True):
        opening = possible_sentences(task, person, named=True)
        later = possible_sentences(task, person, named=task.fullname)
        told = sentences(task, row)
        attributes = [(later if i else opening)[sentence] for i, sentence in enumerate(told)]
        assert sorted(attributes) == sorted(ATTRIBUTES)
        if task.employer_first:
            assert attributes.index("employer") < attributes.index("company_city")
        if not task.permute:
            assert attributes == list(ATTRIBUTES)


@pytest.mark.parametrize("task", VARIANTS.values(), ids=VARIANTS.keys())
def test_spans_latents_and_mask(task: Biographies) -> None:
    task = task.bind(3)
    batch = task.sample(train_rng(), 64)
    tokens = batch.tokens
    assert tokens.dtype == np.int32 and batch.loss_mask.dtype == bool
    assert np.array_equal(batch.loss_mask[:, 1:], tokens[:, 1:] != 0)
    assert not batch.loss_mask[:, 0].any() and (tokens[:, 0] == task.vocabulary.id("<bos>")).all()
    assert set(batch.spans) == {"name", "gender", *ATTRIBUTES}
    for i, person in enumerate(batch.latents["person"]):
        texts = {
            key: task.vocabulary.decode(tokens[i, slice(*span[i])])
            for key, span in batch.spans.items()
        }
        assert texts.pop("name") == name(task, person)
        ids = [task.vocabulary.index.get(word, -1) for word in ("he", "she", "his", "her")]
        gender = texts.pop("gender")
        if task.fullname:
            assert ids == [-1] * 4 and (batch.spans["gender"] == -1).all()
        else:
            expected = (("he", "his"), ("she", "her"))[batch.latents["gender"][i]]
            assert gender in expected
            start = batch.spans["gender"][i, 0]
            assert not np.isin(tokens[i, :start], ids).any()  # it is the first one
        date = texts.pop("birth_date").split()
        assert sorted(date) == sorted(fact(task, "birth_date", person).split())
        assert texts == {attribute: fact(task, attribute, person) for attribute in texts}
        for attribute in ATTRIBUTES:
            assert batch.latents[attribute][i] == task.world.facts[attribute][person]


def test_the_small_setting_is_small() -> None:
    task = Biographies(pools="small", templates=4)
    assert len(task.vocabulary) <= 320 and task.context_length <= 45


@pytest.mark.parametrize("fullname", [False, True])
def test_every_token_of_the_vocabulary_occurs_and_decodes(fullname: bool) -> None:
    task = Biographies(people=3000, fullname=fullname).bind(0)
    batch = task.sample(train_rng(), 3000, index=0)
    assert np.array_equal(np.unique(batch.tokens), np.arange(len(task.vocabulary)))
    text = task.vocabulary.decode(batch.tokens[0])
    assert not re.search(r"(first|middle|last|city|company|month|headquarters):", text)


@pytest.mark.parametrize("task", VARIANTS.values(), ids=VARIANTS.keys())
def test_no_document_is_longer_than_the_context(task: Biographies) -> None:
    batch = task.bind(1).sample(train_rng(), 2000)
    assert batch.tokens.shape[1] <= task.context_length
    assert batch.tokens[:, -1].any()  # trimmed to the longest document
    if task.templates <= 4 and task.versions is None:
        assert batch.tokens.shape[1] == task.context_length  # and the bound is reached


def test_each_person_exactly_once_per_epoch_whatever_the_batches() -> None:
    task = Biographies(people=37).bind(5)
    shown = task.shown(0, 37 * 4)
    for epoch in shown.reshape(4, 37):
        assert sorted(epoch) == list(range(37))
    assert not np.array_equal(shown[:37], shown[37:74])
    batches = [
        task.sample(train_rng(step), 10, index=10 * step).latents["person"] for step in range(14)
    ]
    assert np.array_equal(np.concatenate(batches), shown[:140])
    assert np.array_equal(task.shown(30, 100), shown[30:130])  # a batch over three epochs
    assert (np.bincount(np.concatenate(batches)[:111], minlength=37) == 3).all()
    assert task.items_per_exposure == 37


def test_without_an_index_people_are_drawn_uniformly() -> None:
    drawn = Biographies(people=8).bind(0).sample(train_rng(), 8000).latents["person"]
    counts = np.bincount(drawn, minlength=8)
    assert chi_square(counts, 1000) < 24.3  # chi-square, 7 degrees, p = .001


def test_values_are_uniform_and_independent_of_each_other() -> None:
    """Plug-in entropies (Miller-Madow corrected) of 32,000 people against the pools' bits."""
    pools = load_pools("small")
    facts = draw_people(generator(0, Stream.WORLD), 32_000, pools).facts
    for attribute, bits in pools.value_bits.items():
        counts = np.bincount(facts[attribute])
        p = counts[counts > 0] / counts.sum()
        entropy = -(p * np.log2(p)).sum() + (len(p) - 1) / (2 * counts.sum() * np.log(2))
        assert entropy == pytest.approx(bits, abs=0.02)
    pair = facts["major"] * len(pools.company) + facts["employer"]
    p = np.bincount(pair) / len(pair)
    joint = -(p[p > 0] * np.log2(p[p > 0])).sum() + (len(p) - 1) / (2 * len(pair) * np.log(2))
    assert joint == pytest.approx(4 + 5, abs=0.02)


@pytest.mark.parametrize("pools, n", [("full", 500_000), ("small", 32 * 32 * 32)])
def test_names_are_unique(pools: str, n: int) -> None:
    people = draw_people(generator(0, Stream.WORLD), n, load_pools(pools))
    assert len(np.unique(people.names, axis=0)) == n == len(people)
    sizes = np.array(
        [len(getattr(load_pools(pools), role)) for role in ("first", "middle", "last")]
    )
    assert (people.names.max(0) == sizes - 1).all() and (people.names.min(0) == 0).all()


def test_information_bits() -> None:
    task = Biographies(people=1000, pools="full")
    assert task.information_bits() / 1000 == pytest.approx(64.88, abs=0.005)
    without = Biographies(people=1000, pools="full", fullname=True)
    assert task.information_bits() - without.information_bits() == pytest.approx(1000)
    assert task.log2_values == pytest.approx(log2(2 * 12 * 28 * 200 * 200 * 300 * 100 * 263))


def test_orders_are_uniform_with_and_without_the_employer_first() -> None:
    employer, city = ATTRIBUTES.index("employer"), ATTRIBUTES.index("company_city")
    assert len({tuple(order) for order in ORDERS.tolist()}) == 720
    assert ORDERS[0].tolist() == EMPLOYER_FIRST_ORDERS[0].tolist() == list(range(6))
    counts = Counter(tuple(order) for order in EMPLOYER_FIRST_ORDERS.tolist())
    assert len(counts) == 360 and set(counts.values()) == {2}
    assert all(order.index(employer) < order.index(city) for order in counts)

    def city_first(batch: Batch) -> float:
        return float((batch.spans["company_city"] < batch.spans["employer"])[:, 0].mean())

    task = Biographies(people=2000, employer_first=False).bind(0)
    assert city_first(task.sample(train_rng(), 2000)) == pytest.approx(0.5, abs=0.05)
    assert city_first(task.write(train_rng(), np.arange(2000), employer_first=True)) == 0


@pytest.mark.parametrize("versions", [1, 2, 5])
def test_versions_fix_the_texts_of_a_person(versions: int) -> None:
    task = Biographies(people=20, versions=versions).bind(0)
    texts = [set() for _ in range(20)]
    for step in range(60):
        batch = task.sample(train_rng(step), 20, index=20 * step)
        for person, row in zip(batch.latents["person"], batch.tokens, strict=True):
            texts[person].add(tuple(row[row > 0].tolist()))
    assert [len(found) for found in texts] == [versions] * 20


def test_without_versions_texts_are_redrawn_and_facts_stay() -> None:
    redrawn, fixed = (Biographies(people=5, versions=v).bind(0) for v in (None, 2))
    texts = {
        tuple(row[row > 0].tolist())
        for step in range(40)
        for row in redrawn.sample(train_rng(step), 5, index=5 * step).tokens
    }
    assert len(texts) > 190
    for attribute, values in redrawn.world.facts.items():
        assert np.array_equal(values, fixed.world.facts[attribute])


def test_worlds_follow_the_seed_unless_pinned() -> None:
    a, b = Biographies(people=30).bind(1), Biographies(people=30).bind(2)
    assert not np.array_equal(a.world.names, b.world.names)
    pinned = Biographies(people=30, world_seed=1)
    assert np.array_equal(pinned.bind(7).world.names, a.world.names)
    assert not np.array_equal(pinned.bind(7).shown(0, 30), pinned.bind(8).shown(0, 30))


def test_impossible_requests_say_what_to_do() -> None:
    with pytest.raises(ValidationError, match="people 40000 .* 32768 full names .*pools: full"):
        Biographies(people=40_000)
    assert Biographies(people=32_768) and Biographies(people=40_000, pools="full")
    with pytest.raises(ValidationError, match="templates 60 .* at most 44"):
        Biographies(templates=60)
    task = Biographies(people=3)
    with pytest.raises(ValueError, match="no split 'test'; it has train"):
        task.sample(train_rng(), 1, split="test")
    with pytest.raises(ValueError, match="no difficulty 2"):
        task.sample(train_rng(), 1, difficulty=2)


def test_hash_of_the_templates() -> None:
    """A changed sentence is other data: it, too, needs a new `Biographies.version`."""
    text = b"".join((FOLDER / f"{attribute}.txt").read_bytes() for attribute in ATTRIBUTES)
    assert hashlib.sha256(text).hexdigest()[:16] == "0a1b82f61deab5b8"
