"""The capacity probe: exactly 0 without memory, exactly R_max with a perfect one, never clipped."""

from collections.abc import Callable
from dataclasses import replace
from math import e, log, log2
from typing import Any

import numpy as np
import pytest
import torch
from known_models import Given, P, by_item, memorised, subject
from torch import Tensor
from torch.nn.functional import pad

from generators.biographies import Biographies
from generators.extraction import Extraction
from generators.multihop import MultiHop
from generators.operations import Operations
from generators.templates import DATE
from models.config import LoopedConfig
from probes.capacity import Capacity, stored_bits
from probes.stored_bits import bootstrap_means

VALUES = ("birth_date", "birth_city", "university", "major", "employer", "gender")


def following(tokens: Tensor) -> Tensor:
    """The token that comes next, 0 after the last: [B, T]."""
    return torch.cat([tokens[:, 1:], torch.zeros_like(tokens[:, :1])], dim=1)


def pool_of(task: Biographies) -> Tensor:
    """int64[V], a number for the pool of each token; all pronouns are one pool."""
    pronouns = {word for pair in task.pronouns.values() for word in pair}
    names = [
        "pronoun" if t in pronouns else t.split(":")[0] if ":" in t else "word"
        for t in task.vocabulary.tokens
    ]
    return torch.tensor([sorted(set(names)).index(name) for name in names])


def uniform_over_pools(task: Biographies) -> Callable[[Tensor], Tensor]:
    pool = pool_of(task)

    def next_token(tokens: Tensor) -> Tensor:
        right = pool[following(tokens)][..., None] == pool  # [B, T, V]
        return torch.zeros(right.shape).masked_fill(~right, -torch.inf)

    return next_token


def uniform_over_vocabulary(task: Biographies) -> Callable[[Tensor], Tensor]:
    return lambda tokens: torch.zeros(*tokens.shape, len(task.vocabulary))


def lookup(task: Biographies) -> Callable[[Tensor], Tensor]:
    """Knows who exists and everything about them, but not the city of any company."""
    names, city = task.world.names, pool_of(task)
    headquarters = city[task.vocabulary.id(f"headquarters:{task.values.headquarters[0]}")]

    def share(person: int, known: int) -> float:
        """Of the people whose first `known` names are those of the person, who has the next."""
        same = (names[:, :known] == names[person, :known]).all(1)
        more = (names[:, : known + 1] == names[person, : known + 1]).all(1)
        return more.sum() / same.sum()

    of_name = {}
    for person in range(task.people):
        ids = task.vocabulary.ids(
            [
                f"{role}:{getattr(task.values, role)[index]}"
                for role, index in zip(("first", "middle", "last"), names[person], strict=True)
            ]
        )
        of_name[tuple(ids.tolist())] = [share(person, known) for known in range(3)]

    def next_token(tokens: Tensor) -> Tensor:
        target = following(tokens)
        logits = torch.full((*tokens.shape, len(task.vocabulary)), -torch.inf)
        logits.scatter_(2, target[..., None], 0.0)
        shares = torch.tensor([of_name[tuple(row)] for row in target[:, :3].tolist()]).float()
        logits[:, :3, 0] = (1 - shares).log()  # the other names, all in one place
        logits[:, :3].scatter_(2, target[:, :3, None], shares.log()[..., None])
        logits[city[target] == headquarters] = 0.0
        return logits

    return next_token


def test_stored_bits_is_the_formula() -> None:
    """N·log2(pool / e^nll), at 0 for a guess from the pool and at N·log2(pool/N) for ln N."""
    assert stored_bits(np.array(log(64)), 6.0, 10) == pytest.approx(0, abs=1e-12)
    assert stored_bits(np.array(0.0), 6.0, 10) == 60
    assert stored_bits(np.array(log(10)), 20.0, 10) == pytest.approx(10 * log2(2**20 / 10))
    nll = np.array([0.3, 4.0, 9.0])
    assert stored_bits(nll, 5.0, 7) == pytest.approx(7 * np.log2(2**5.0 / e**nll))
    assert stored_bits(nll, 5.0, 7)[2] < 0


def test_bootstrap_agrees_with_the_standard_error() -> None:
    rng = np.random.default_rng([0, 7, 0])
    values = rng.exponential([1.0, 5.0], (400, 2))
    means = bootstrap_means(values, rng, 4000)
    assert means.shape == (4000, 2)
    assert means.std(0) == pytest.approx(values.std(0) / 20, rel=0.05)
    assert means.mean(0) == pytest.approx(values.mean(0), rel=0.01)


@pytest.mark.parametrize(
    "task",
    [
        Biographies(people=300),
        Biographies(people=300, pools="full", templates=40, employer_first=False),
        Biographies(people=300, versions=2, templates=8),
        Biographies(people=300, fullname=True),
    ],
    ids=["small", "full", "versions", "fullname"],
)
def test_a_guess_from_the_right_pools_scores_exactly_zero(task: Biographies) -> None:
    task = task.bind(0)
    rows = Capacity().measure(subject(Given(uniform_over_pools(task)), task))
    for item, row in by_item(rows, "bits").items():
        assert row.value / task.people == pytest.approx(0, abs=1e-5), item
        assert row.floor == 0
    nats = by_item(rows, "nll_nats")
    assert nats["total"].value == pytest.approx(nats["total"].floor, abs=1e-5)
    assert ("gender" in nats) != task.fullname


@pytest.mark.parametrize("fullname", [False, True])
def test_a_lookup_oracle_scores_exactly_r_max(fullname: bool) -> None:
    task = Biographies(people=400, fullname=fullname).bind(0)
    rows = Capacity().measure(subject(Given(lookup(task)), task))
    log2_values = log2(12 * 28 * 16 * 32 * 32 * 16 * 32) + (0 if fullname else 1)
    r_max = 400 * (log2(32**3 / 400) + log2_values) / P
    total = by_item(rows, "bits_per_parameter")["total"]
    assert total.value == pytest.approx(r_max, rel=1e-6)
    assert total.ceiling == pytest.approx(r_max, rel=1e-12)
    assert total.ceiling == pytest.approx(task.information_bits() / P)
    for row in by_item(rows, "capacity_ratio").values():
        assert row.value == pytest.approx(1, rel=1e-5) and row.ceiling == 1
    assert by_item(rows, "nll_nats")["name"].value == pytest.approx(log(400), rel=1e-6)


@pytest.mark.parametrize("pools", ["small", "full"])
def test_a_blank_model_is_strongly_negative(pools: Any) -> None:
    """Ten tokens cost log2 V each; gender is a choice between two and costs one bit."""
    task = Biographies(people=200, pools=pools).bind(0)
    rows = Capacity().measure(subject(Given(uniform_over_vocabulary(task)), task))
    expected = task.log2_names + task.log2_values - 10 * log2(len(task.vocabulary)) - 1
    bits = by_item(rows, "bits")
    assert bits["total"].value / 200 == pytest.approx(expected, rel=1e-5)
    assert bits["total"].value < -4000 and bits["name"].value < 0
    assert bits["gender"].value / 200 == pytest.approx(0, abs=1e-5)


def test_an_untrained_model_is_near_the_blank_one() -> None:
    task = Biographies(people=100).bind(0)
    model = LoopedConfig(width=32).build(len(task.vocabulary), gate=False, seed=0)
    total = by_item(Capacity().measure(subject(model, task)), "bits")["total"].value / 100
    blank = task.log2_names + task.log2_values - 10 * log2(len(task.vocabulary)) - 1
    assert total == pytest.approx(blank, abs=2)


def test_gender_is_renormalised_over_its_two_pronouns() -> None:
    """Half of the mass on other words, of the rest nine tenths on the right pronoun."""
    task = Biographies(people=200).bind(0)
    pairs = [task.vocabulary.ids(pair) for pair in task.pronouns.values()]
    other = {int(a): int(b) for pair in pairs for a, b in (pair, pair[::-1])}
    assert len(other) == 4

    def next_token(tokens: Tensor) -> Tensor:
        p = torch.full((*tokens.shape, len(task.vocabulary)), 0.5 / len(task.vocabulary))
        for pronoun, partner in other.items():
            rows, columns = torch.where(following(tokens) == pronoun)
            p[rows, columns, pronoun], p[rows, columns, partner] = 0.45, 0.05
        return p.log()

    bits = by_item(Capacity().measure(subject(Given(next_token), task)), "bits")
    assert bits["gender"].value / 200 == pytest.approx(1 + log2(0.9), abs=1e-6)
    assert bits["gender"].ceiling == 200


def test_renderings_put_the_name_first_and_the_employer_before_its_city() -> None:
    task = Biographies(people=300, employer_first=False, versions=1).bind(0)
    model = Given(uniform_over_pools(task))
    Capacity(batch=64).measure(subject(model, task))
    assert [len(tokens) for tokens in model.fed] == [64, 64, 64, 64, 44]
    tokens = [task.vocabulary.tokens[i] for batch in model.fed for i in batch.flatten()]
    roles = [token.split(":")[0] for token in tokens]
    told = [r for r in roles if r in ("<bos>", "first", "company", "headquarters", "city", "day")]
    documents = " ".join(told).split("<bos> ")[1:]
    assert len(documents) == 300
    for document in map(str.split, documents):
        assert document[0] == "first" and len(document) == 5
        assert document.index("company") < document.index("headquarters")


def test_sums_ceilings_and_intervals() -> None:
    task = Biographies(people=150).bind(1)
    model = LoopedConfig(width=16, loops=3).build(len(task.vocabulary), gate=False, seed=1)
    rows = Capacity(loops="all").measure(subject(model, task))
    assert rows == Capacity(loops="all").measure(subject(model, task))  # the same numbers again
    *rows, counted = rows
    assert (counted.metric, counted.value, counted.loop) == ("counted_parameters", P, None)
    assert {row.loop for row in rows} == {1, 2, 3}
    last = Capacity().measure(subject(model, task))
    assert last == (*(r for r in rows if r.loop == 3), counted)
    assert {(row.split, row.n_items) for row in rows} == {("train", 150)}
    for loop in (1, 2, 3):
        of_loop = tuple(row for row in rows if row.loop == loop)
        for metric in ("nll_nats", "bits", "bits_per_parameter"):
            found = by_item(of_loop, metric)
            assert list(found) == ["name", *VALUES, "value", "total"]
            values = {item: row.value for item, row in found.items()}
            assert values["value"] == pytest.approx(sum(values[item] for item in VALUES))
            assert values["total"] == pytest.approx(values["name"] + values["value"])
            assert all(row.low < row.value < row.high for row in found.values())
        bits, ratio = by_item(of_loop, "bits"), by_item(of_loop, "capacity_ratio")
        per_parameter = by_item(of_loop, "bits_per_parameter")
        for item, row in bits.items():
            assert per_parameter[item].value == pytest.approx(row.value / P)
            assert per_parameter[item].low == pytest.approx(row.low / P)
            assert per_parameter[item].ceiling == pytest.approx(row.ceiling / P)
            assert ratio[item].value == pytest.approx(row.value / row.ceiling)
        assert bits["name"].ceiling + bits["value"].ceiling == pytest.approx(bits["total"].ceiling)


def test_a_sample_of_the_people_stands_for_all() -> None:
    task = Biographies(people=500).bind(0)
    model = LoopedConfig(width=16).build(len(task.vocabulary), gate=False, seed=0)
    everyone = by_item(Capacity().measure(subject(model, task)), "bits")["total"]
    some = by_item(Capacity(people=60).measure(subject(model, task)), "bits")["total"]
    assert some.n_items == 60 and everyone.n_items == 500
    assert some.ceiling == everyone.ceiling  # bits about all N people
    assert some.value == pytest.approx(everyone.value, rel=0.05)
    assert some.high - some.low > 2 * (everyone.high - everyone.low)
    assert by_item(Capacity(people=900).measure(subject(model, task)), "bits")["total"] == everyone


def test_when_every_name_is_taken_names_have_no_ratio() -> None:
    task = Biographies(people=32**3).bind(0)
    rows = Capacity(people=50).measure(subject(Given(uniform_over_vocabulary(task)), task))
    assert by_item(rows, "bits")["name"].ceiling == 0
    assert "name" not in by_item(rows, "capacity_ratio")


def test_only_biographies_have_a_capacity() -> None:
    facts = MultiHop(entities=8, relations=4, hops=2).bind(0)
    assert Capacity.applies(Biographies()) and not Capacity.applies(facts)
    wrong = replace(subject(None, Biographies()), task=facts)
    with pytest.raises(ValueError, match="kind bios or .* got multihop"):
        Capacity().measure(wrong)
    last = Biographies(name_last=True)
    assert not Capacity.applies(last)
    with pytest.raises(ValueError, match="needs the name before the values"):
        Capacity().measure(replace(wrong, task=last.bind(0)))


def test_a_trained_model_knows_its_own_people_and_no_others() -> None:
    task = Biographies(people=32, templates=1).bind(0)
    others = Biographies(people=32, templates=1).bind(1)
    assert set(map(tuple, task.world.names)).isdisjoint(map(tuple, others.world.names))
    model = memorised(task, width=64, steps=250)
    rows = Capacity(bits=(8, 2)).measure(subject(model, task))
    own = by_item(rows, "capacity_ratio")
    strangers = by_item(Capacity().measure(subject(model, others)), "capacity_ratio")
    assert own["total"].value > 0.9
    assert all(row.value < 0 for row in strangers.values())
    eight, two = (by_item(rows, f"capacity_ratio_int{bits}")["total"] for bits in (8, 2))
    assert eight.value == pytest.approx(own["total"].value, abs=0.05)
    assert two.value < own["total"].value - 0.3
    assert (eight.ceiling, eight.floor, eight.n_items) == (1, 0, 32)
    assert Capacity().measure(subject(model, task))[:-1] == rows[: len(rows) // 3]  # put back


@pytest.mark.parametrize(
    "mixed",
    [
        Extraction(biographies=Biographies(people=300, employer_first=False)),
        Operations(biographies=Biographies(people=300, employer_first=False)),
    ],
    ids=["extraction", "operations"],
)
def test_biographies_among_questions_are_measured_alike(mixed: Any) -> None:
    """Zero for the right pools and R_max for the oracle; only the questions' words are new."""
    mixed = mixed.bind(3)
    assert Capacity.applies(type(mixed)())
    words = mixed.text.vocabulary.tokens
    assert mixed.vocabulary.tokens[: len(words)] == words
    others = len(mixed.vocabulary) - len(words)

    def wider(next_token: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda tokens: pad(next_token(tokens), (0, others), value=-torch.inf)

    blank = Capacity().measure(subject(Given(wider(uniform_over_pools(mixed.text))), mixed))
    assert by_item(blank, "bits")["total"].value / 300 == pytest.approx(0, abs=1e-5)
    rows = Capacity().measure(subject(Given(wider(lookup(mixed.text))), mixed))
    total = by_item(rows, "bits")["total"]
    assert total.value == pytest.approx(mixed.information_bits(), rel=1e-6)
    assert total.ceiling == pytest.approx(mixed.information_bits())
    assert total.n_items == 300


def test_knowing_which_dates_there_are_counts_as_bits_about_people() -> None:
    """A model that knows how often each birth date occurs, and of nobody whose it is."""
    task = Biographies(people=300).bind(0)
    dates = task._tokens["date"]  # [N, 3], ids of month, day, year
    role = [token.split(":")[0] for token in task.vocabulary.tokens]
    guess = uniform_over_pools(task)

    def knows_dates(tokens: Tensor) -> Tensor:
        logits = guess(tokens)
        for b, row in enumerate(tokens.tolist()):
            like = np.ones(len(dates), bool)
            for t, token in enumerate(row[1:]):
                if role[token] in DATE:
                    part = dates[:, DATE.index(role[token])]
                    share = np.bincount(part[like], minlength=logits.shape[-1]) / like.sum()
                    logits[b, t] = torch.from_numpy(share).float().log()
                    like &= part == token
        return logits

    bits = by_item(Capacity().measure(subject(Given(knows_dates), task)), "bits")
    _, which, times = np.unique(dates, axis=0, return_inverse=True, return_counts=True)
    pool = 12 * 28 * len(task.values.year)
    wanted = np.log2(pool * times[which.ravel()] / 300).sum()
    assert bits["birth_date"].value == pytest.approx(wanted, rel=1e-5)
    assert 300 * log2(pool / 300) < wanted < 300 * (log2(pool / 300) + 0.2)
    assert wanted / 300 == pytest.approx(4.2, abs=0.1)
    others = [bits[item].value for item in bits if item not in ("birth_date", "value", "total")]
    assert others == pytest.approx([0.0] * len(others), abs=1e-2)
