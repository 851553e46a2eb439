"""Stored bits of bioD and of random sequences: models whose bits are known exactly."""

from collections.abc import Callable
from math import e, log, log2
from typing import Any

import numpy as np
import pytest
import torch
from known_models import Given, P, by_item, memorised, subject
from torch import Tensor
from torch.nn.functional import cross_entropy

from generators.biod import BioD
from generators.biographies import Biographies
from generators.random_sequences import RandomSequences
from generators.streams import Stream, generator
from generators.task import Task
from models.config import LoopedConfig
from probes.capacity import Capacity
from probes.capacity_biod import CapacityBioD
from probes.capacity_sequences import CapacitySequences
from probes.probe import Subject
from probes.stored_bits import intervals


def lookup(task: Task, starts: np.ndarray) -> Callable[[Tensor], Tensor]:
    """Knows which beginnings int[N, S] there are, not whose turn it is; then everything."""
    S = starts.shape[1]

    def next_token(tokens: Tensor) -> Tensor:
        V = len(task.vocabulary)
        target = torch.cat([tokens[:, 1:], torch.zeros_like(tokens[:, :1])], dim=1)
        logits = torch.full((*tokens.shape, V), -torch.inf).scatter(2, target[..., None], 0.0)
        for b, row in enumerate(tokens[:, 1 : 1 + S].numpy()):
            for t in range(S):
                like = (starts[:, :t] == row[:t]).all(1)
                share = np.bincount(starts[like, t], minlength=V) / like.sum()
                logits[b, t] = torch.from_numpy(share).float().log()
        return logits

    return next_token


def of_roles(task: BioD) -> Callable[[Tensor], Tensor]:
    """Uniform over names' letters; knows the strings of each attribute and nothing of people."""
    first = task.vocabulary.id("letter:0")
    letters = first + torch.from_numpy(task.world["sets"][:, :, 0])  # L = 1: [K, D]
    names = range(task.vocabulary.id("name:n0"), task.vocabulary.id("attribute:a0"))

    def next_token(tokens: Tensor) -> Tensor:
        logits = torch.full((*tokens.shape, len(task.vocabulary)), -torch.inf)
        logits[:, : task.name_length, list(names)] = 0.0
        for b, row in enumerate(tokens.tolist()):
            attribute = 0
            for t in range(task.name_length, len(row)):
                if task.vocabulary.tokens[row[t]].startswith("attribute"):
                    attribute = row[t] - task.vocabulary.id("attribute:a0")
                logits[b, t, letters[attribute]] = 0.0
        return logits

    return next_token


def test_a_lookup_oracle_stores_all_of_biod() -> None:
    task = BioD(people=60, attributes=3, chunks=2, diversity=5, length=2, alphabet=8).bind(0)
    names = task.vocabulary.id("name:n0") + task.world["names"]
    rows = CapacityBioD().measure(subject(Given(lookup(task, names)), task))
    r_max = 60 * log2(64**3 / 60) + 60 * 3 * 2 * log2(5) + 3 * 5 * log2(8**2 / 5)
    total = by_item(rows, "bits_per_parameter")["total"]
    assert total.value == pytest.approx(r_max / P, rel=1e-6)
    assert total.ceiling == pytest.approx(r_max / P) == task.information_bits() / P
    ratios = by_item(rows, "capacity_ratio")
    assert list(ratios) == ["name", "value", "strings", "total"]
    assert all(row.value == pytest.approx(1, rel=1e-5) for row in ratios.values())
    assert by_item(rows, "nll_nats")["name"].value == pytest.approx(log(60), rel=1e-6)


def test_who_knows_the_pools_alone_stores_no_names_and_no_values() -> None:
    task = BioD(people=50, attributes=4, diversity=6, alphabet=64).bind(0)
    rows = CapacityBioD().measure(subject(Given(of_roles(task)), task))
    bits = by_item(rows, "bits")
    assert bits["name"].value / 50 == pytest.approx(0, abs=1e-5)
    assert bits["value"].value / 200 == pytest.approx(0, abs=1e-5)
    assert bits["strings"].value == pytest.approx(4 * 6 * log2(64 / 6**2), abs=1e-3)
    assert bits["total"].value == pytest.approx(bits["strings"].value, abs=1e-3)


def test_the_formula_of_biod() -> None:
    """Definition 4.1, written out with the measured p1, p2, p3 of an untrained model."""
    task = BioD(people=80, attributes=3, chunks=3, diversity=9, length=2, alphabet=16).bind(1)
    model = LoopedConfig(width=16, loops=2).build(len(task.vocabulary), gate=False, seed=1)
    rows = CapacityBioD(loops="all").measure(subject(model, task))
    assert {row.loop for row in rows if row.item} == {1, 2}
    for loop in (1, 2):
        at = tuple(row for row in rows if row.loop == loop)
        p1, p2, p3 = (row.value for row in by_item(at, "nll_nats").values())
        R = 80 * log2(64**3 / e**p1) + 240 * log2(9**3 / e**p2) + 27 * log2(256 / (9 * e**p3))
        total = by_item(at, "bits")["total"]
        assert total.value == pytest.approx(R) and total.low < R < total.high < 0
        assert p2 == pytest.approx(3 * p3, rel=0.05)  # all chunks are as unknown as the first


def test_strings_that_cannot_be_otherwise_are_not_charged_for() -> None:
    """Where D = T^L an attribute has every string, and p3 says nothing about which."""
    task = BioD(people=40, attributes=2, diversity=16, length=2, alphabet=4).bind(3)
    model = LoopedConfig(width=16).build(len(task.vocabulary), gate=False, seed=1)
    bits = by_item(CapacityBioD().measure(subject(model, task)), "bits")
    assert bits["strings"].value == 0 and bits["strings"].ceiling == 0
    p2 = by_item(CapacityBioD().measure(subject(model, task)), "nll_nats")["value"].value
    assert bits["value"].value == pytest.approx(80 * log2(16 / e**p2))
    assert bits["total"].value == pytest.approx(bits["name"].value + bits["value"].value)
    # one string fewer, and the term is there
    task = BioD(people=40, attributes=2, diversity=15, length=2, alphabet=4).bind(3)
    bits = by_item(CapacityBioD().measure(subject(model, task)), "bits")
    assert bits["strings"].value < 0 < bits["strings"].ceiling


@pytest.mark.parametrize("length", [4, 12])
def test_two_definitions_on_random_sequences(length: int) -> None:
    task = RandomSequences(sequences=40, length=length, alphabet=16).bind(0)
    letters = task.vocabulary.id("letter:0") + task.world
    rows = CapacitySequences().measure(subject(Given(lookup(task, letters)), task))
    ratio, bits = by_item(rows, "capacity_ratio"), by_item(rows, "bits")
    stored = 40 * (4 * length - log2(40))
    assert bits["total"].value == pytest.approx(stored, rel=1e-5) == bits["memorised"].value
    assert ratio["total"].value == pytest.approx(1, rel=1e-5)
    assert ratio["memorised"].value == pytest.approx(1 - log2(40) / (4 * length), rel=1e-5)

    def uniform(tokens: Tensor) -> Tensor:
        logits = torch.zeros(*tokens.shape, len(task.vocabulary))
        logits[..., : task.vocabulary.id("letter:0")] = -torch.inf
        return logits

    rows = CapacitySequences().measure(subject(Given(uniform), task))
    for row in by_item(rows, "bits").values():
        assert row.value / 40 == pytest.approx(0, abs=1e-4)


def test_what_a_model_makes_longer_is_coded_without_it() -> None:
    """Half of the sequences foreseen with certainty, the others with a probability of 1/1000."""
    task = RandomSequences(sequences=10, length=5, alphabet=4).bind(0)
    known = {tuple(row) for row in task.world[::2].tolist()}
    first = task.vocabulary.id("letter:0")

    def next_token(tokens: Tensor) -> Tensor:
        p = torch.full((*tokens.shape, len(task.vocabulary)), 1e-3)
        for b, row in enumerate(tokens.tolist()):
            if tuple(t - first for t in row[1:]) in known:
                p[b, range(5), row[1:]] = 1.0
                p[b, range(5)] = p[b, range(5)].floor()
            else:
                p[b, :, 0] = 1 - 1e-3 * (len(task.vocabulary) - 1)
        return p.log()

    bits = by_item(CapacitySequences().measure(subject(Given(next_token), task)), "bits")
    assert bits["memorised"].value == pytest.approx(5 * 10)
    assert bits["total"].value == pytest.approx(5 * 10 + 5 * (10 - 5 * log2(1000)), rel=1e-5)


def test_part_of_the_items_stands_for_all() -> None:
    for task, probe in (
        (BioD(people=300).bind(0), CapacityBioD),
        (RandomSequences(sequences=300, length=8).bind(0), CapacitySequences),
    ):
        model = LoopedConfig(width=16).build(len(task.vocabulary), gate=False, seed=0)
        few = {"people" if isinstance(task, BioD) else "sequences": 50}
        all_bits = by_item(probe().measure(subject(model, task)), "bits")["total"]
        some = by_item(probe(**few).measure(subject(model, task)), "bits")["total"]
        assert (all_bits.n_items, some.n_items) == (300, 50)
        assert some.ceiling == all_bits.ceiling
        assert some.value == pytest.approx(all_bits.value, rel=0.1)
        assert some.high - some.low > all_bits.high - all_bits.low


def test_each_probe_has_its_task() -> None:
    bios, biod, sequences = Biographies(), BioD(), RandomSequences()
    assert [CapacityBioD.applies(t) for t in (bios, biod, sequences)] == [False, True, False]
    assert [CapacitySequences.applies(t) for t in (bios, biod, sequences)] == [False, False, True]
    with pytest.raises(ValueError, match="kind biod, got bios"):
        CapacityBioD().measure(subject(None, bios))
    with pytest.raises(ValueError, match="kind random_sequences, got bios"):
        CapacitySequences().measure(subject(None, bios))


@pytest.mark.parametrize(
    "task, probe",
    [
        (BioD(people=32, attributes=3), CapacityBioD()),
        (RandomSequences(sequences=32, length=12), CapacitySequences()),
    ],
    ids=["biod", "sequences"],
)
def test_training_stores_its_own_world_and_no_other(task: Any, probe: Any) -> None:
    task, others = task.bind(0), task.bind(1)
    model = memorised(task, width=32, steps=200)
    own, strange = (
        by_item(probe.measure(subject(model, world)), "capacity_ratio")["total"].value
        for world in (task, others)
    )
    assert own > 0.85 and strange < 0


def test_p2_and_p3_of_biod_are_means_over_all_attributes() -> None:
    """A token of chunk c of attribute k has probability 2^-(1+k+3c): p2 and p3 in closed form."""
    K, C, L = 4, 3, 2
    task = BioD(people=30, attributes=K, chunks=C, diversity=7, length=L, alphabet=8).bind(0)
    attributes = [task.vocabulary.id(f"attribute:a{k}") for k in range(K)]

    def next_token(tokens: Tensor) -> Tensor:
        p = torch.full((*tokens.shape, len(task.vocabulary)), 1e-9)
        for b, row in enumerate(tokens.tolist()):
            for t in range(task.name_length, len(row) - 1):
                back = next((n for n in range(C * L) if row[t - n] in attributes), None)
                if back is not None:  # that many tokens of the value are already there
                    k = attributes.index(row[t - back])
                    p[b, t, row[t + 1]] = 2.0 ** -(1 + k + 3 * (back // L))
        p[..., 0] = 1 - p[..., 1:].sum(-1)
        return p.log()

    nats = by_item(CapacityBioD().measure(subject(Given(next_token), task)), "nll_nats")
    p2 = np.mean([L * (1 + k + 3 * c) for k in range(K) for c in range(C)]) * C
    p3 = np.mean([L * (1 + k) for k in range(K)])
    assert nats["value"].value / log(2) == pytest.approx(p2, rel=1e-6)
    assert nats["strings"].value / log(2) == pytest.approx(p3, rel=1e-6)
    assert nats["value"].floor == pytest.approx(C * log(7)), "a guess among the strings"


def test_intervals_of_stored_bits_are_95_percent() -> None:
    """Of a mean over many people: ± 1.96 standard errors, which normal quantiles give."""
    task = BioD(people=600, attributes=2, permute=False).bind(0)
    model = LoopedConfig(width=16).build(len(task.vocabulary), gate=False, seed=0)
    tokens = torch.from_numpy(task.write(generator(0, Stream.PROBE), np.arange(600)).tokens).long()
    with torch.no_grad():
        logits = model(tokens[:, :4]).logits()[:, :3]
    name = cross_entropy(logits.transpose(1, 2), tokens[:, 1:4], reduction="none").sum(1)
    error = float(name.double().std()) / 600**0.5
    probe = CapacityBioD(resamples=20_000)
    row = by_item(probe.measure(subject(model, task)), "nll_nats")["name"]
    assert row.value == pytest.approx(float(name.double().mean()), rel=1e-5)
    for end in (row.low, row.high):
        assert end is not None
        assert abs(end - row.value) == pytest.approx(1.96 * error, rel=0.05)  # 90 %: 1.645


def test_intervals_are_the_percentiles_of_the_resamples() -> None:
    resampled = np.stack([np.arange(1001.0), -2 * np.arange(1001.0)], axis=1)
    shuffled = np.random.default_rng([0, 7, 0]).permuted(resampled, axis=0)
    found = intervals(np.array([5.0, 6.0]), shuffled)
    assert found == [(5.0, 25.0, 975.0), (6.0, -1950.0, -50.0)]


@pytest.mark.parametrize(
    ("task", "probe"),
    [
        (Biographies(people=64), Capacity(people=60)),
        (BioD(people=64, permute=False), CapacityBioD(people=60)),
        (RandomSequences(sequences=64, length=8), CapacitySequences(sequences=60)),
    ],
    ids=["biographies", "biod", "sequences"],
)
def test_nobody_is_sampled_twice(task: Any, probe: Any) -> None:
    task, fed = task.bind(0), list[Tensor]()

    def next_token(tokens: Tensor) -> Tensor:
        fed.append(tokens)
        return torch.zeros(*tokens.shape, len(task.vocabulary))

    probe.measure(subject(Given(next_token), task))
    names = [tuple(row) for tokens in fed for row in tokens[:, 1:4].tolist()]
    assert len(names) == len(set(names)) == 60


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_of_words_that_never_occur_are_not_counted(tied: bool) -> None:
    """As if the model had no rows for them: then all of its parameters count."""
    task = BioD(people=3, attributes=2, diversity=2, length=2, alphabet=30).bind(0)
    config = LoopedConfig(width=8, heads=1, tied=tied)
    model = config.build(len(task.vocabulary), gate=False, seed=0).eval()
    every = model.count_parameters()
    used = len(np.unique(task.sample(generator(0, Stream.TRAIN), 100).tokens))
    small = config.count_parameters(1 + used, gate=False)["total"]
    assert small < every["total"]
    rows = CapacityBioD().measure(Subject(model, task, every, 0, torch.device("cpu")))
    (counted,) = (row for row in rows if row.metric == "counted_parameters")
    assert (counted.value, counted.ceiling) == (small, every["total"])
    bits, per = (by_item(rows, metric) for metric in ("bits", "bits_per_parameter"))
    assert all(per[item].value == bits[item].value / small for item in per)
    # a model that does not tell its embedding apart counts as a whole
    whole = Subject(model, task, {"module": 9, "total": every["total"]}, 0, torch.device("cpu"))
    assert whole.counted_parameters == every["total"]
