"""Questions about biographies: answers from the world, people held out, both kinds counted."""

import numpy as np
import pytest
import torch
from facts import fact, name
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn.functional import cross_entropy

from generators.biographies import Biographies
from generators.extraction import Extraction
from generators.streams import Stream, generator
from generators.task import Task
from generators.templates import ATTRIBUTES
from models.config import LoopedConfig
from probes.accuracy import Accuracy
from probes.probe import Subject

tasks = st.builds(
    Extraction,
    biographies=st.builds(
        Biographies,
        people=st.integers(6, 40),
        versions=st.sampled_from([None, 2]),
        reversed_date=st.booleans(),
    ),
    qa_ratio=st.floats(0.05, 0.95),
    trained=st.floats(0.3, 0.6),
)


@given(tasks, st.integers(0, 30), st.sampled_from(Extraction.splits))
def test_answers_follow_the_world(task, seed, split):
    task = task.bind(seed)
    for difficulty in task.difficulties:
        n = task.count(split, difficulty)
        batch = task.sample(
            generator(seed, Stream.EVALUATION), n, split=split, difficulty=difficulty
        )
        assert set(batch.latents["person"].tolist()) == set(task.people_of(split))  # once each
        for i, person in enumerate(batch.latents["person"]):
            row = batch.tokens[i]
            question, answer = task.vocabulary.decode(row).split(" Answer: ")
            assert name(task.text, person) in question
            assert answer == fact(task.text, ATTRIBUTES[difficulty - 1], int(person))
            start, stop = batch.spans["answer"][i]
            assert task.vocabulary.decode(row[start:stop]) == answer
            assert batch.loss_mask[i].nonzero()[0].tolist() == list(range(start, stop))


@given(tasks, st.integers(0, 30), st.integers(1, 30))
def test_training_counts_both_kinds(task, seed, size):
    """Whatever the batches: the asked-for ratio, everything equally often, no one held out."""
    task = task.bind(seed)
    N, total = task.biographies.people, 3 * task.items_per_exposure
    told, asked = [], []
    for first in range(0, total, size):
        n = min(size, total - first)
        batch = task.sample(generator(seed, Stream.TRAIN, first), n, index=first)
        assert len(batch) == n and batch.tokens.shape[1] <= task.context_length
        is_question = batch.difficulty > 0
        told += batch.latents["person"][~is_question].tolist()
        person, attribute = batch.latents["person"], batch.difficulty - 1
        asked += (len(ATTRIBUTES) * person + attribute)[is_question].tolist()
    assert len(told) + len(asked) == total
    assert abs(len(asked) - total * task.qa_ratio) < 1 + total / 1000
    assert np.ptp(np.bincount(told, minlength=N)) <= 1
    every = len(ATTRIBUTES) * len(task.people_of("train"))
    assert max(asked, default=0) < every
    assert np.ptp(np.bincount(asked, minlength=every)) <= 1


def test_exposures_are_exact_where_they_divide():
    task = Extraction(biographies=Biographies(people=20), qa_ratio=0.8).bind(0)
    assert task.items_per_exposure == 100
    batch = task.sample(generator(0, Stream.TRAIN), 300, index=0)
    told = batch.latents["person"][batch.difficulty == 0]
    assert (np.bincount(told, minlength=20) == 3).all() and len(told) == 60
    drawn = task.sample(generator(0, Stream.TRAIN), 2000)
    assert (drawn.difficulty > 0).mean() == pytest.approx(0.8, abs=0.04)


def test_splits_are_disjoint_and_complete():
    task = Extraction(biographies=Biographies(people=101)).bind(0)
    people = [set(task.people_of(split)) for split in task.splits]
    assert [len(p) for p in people] == [50, 25, 26]
    assert len(set().union(*people)) == 101


def test_biographies_are_those_of_the_task_alone():
    """The same people as a bios task of this seed, told in the same words."""
    bios = Biographies(people=30, versions=2)
    task = Extraction(biographies=bios).bind(3)
    alone = bios.bind(3)
    assert np.array_equal(task.text.world.names, alone.world.names)
    batch = task.sample(generator(3, Stream.TRAIN), 20, index=0)
    told = batch.rows(batch.difficulty == 0)
    other = alone.sample(generator(3, Stream.TRAIN), 10, index=0)
    words = [task.vocabulary.decode(row) for row in told.tokens]
    assert words == [alone.vocabulary.decode(row) for row in other.tokens]
    assert (told.spans["answer"] == -1).all()
    pinned = Extraction(biographies=bios, world_seed=3).bind(9)
    assert np.array_equal(pinned.text.world.names, alone.world.names)


@pytest.mark.parametrize("split", Extraction.splits)
def test_floors_by_counting(split):
    task = Extraction(biographies=Biographies(people=60)).bind(1)
    for difficulty in task.difficulties:
        people = task.people_of(split)
        values = [fact(task.text, ATTRIBUTES[difficulty - 1], person) for person in people]
        most = max(map(values.count, values))
        assert task.floors(difficulty, split)["majority"] == pytest.approx(most / len(people))
    every = [task.floors(d, split)["majority"] for d in task.difficulties]
    assert task.floors(None, split)["majority"] == pytest.approx(np.mean(every))
    assert task.information_bits() == task.text.information_bits()


def test_impossible_requests_say_what_to_do():
    with pytest.raises(ValidationError, match="trained 0.5 of 2 people .* 1 and 2 are needed"):
        Extraction(biographies=Biographies(people=2))
    for ratio in (0, 1):
        with pytest.raises(ValidationError, match="qa_ratio"):
            Extraction(qa_ratio=ratio)
    with pytest.raises(ValueError, match="no difficulty 7 in its test split; it has 1, 2"):
        Extraction().sample(generator(0, Stream.TRAIN), 1, split="test", difficulty=7)


@pytest.mark.slow
def test_accuracy_of_a_model_that_has_learnt_the_answers():
    """Trained on the test questions too, it knows them (dates are three tokens), others less."""
    task: Task = Extraction(biographies=Biographies(people=30)).bind(0)
    model = LoopedConfig(width=48).build(len(task.vocabulary), gate=False, seed=0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / 300)
        rng = generator(0, Stream.TRAIN, step)
        batch = task.sample(rng, 60, split=("train", "test")[step % 2])
        tokens, mask = torch.from_numpy(batch.tokens).long(), torch.from_numpy(batch.loss_mask)
        logits = model(tokens[:, :-1]).logits()
        loss = cross_entropy(logits[mask[:, 1:]], tokens[:, 1:][mask[:, 1:]])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    assert Accuracy.applies(task)
    rows = Accuracy().measure(Subject(model, task, {"total": 1}, 0, torch.device("cpu")))
    right = {split: np.mean([r.value for r in rows if r.split == split]) for split in task.splits}
    assert right["test"] > 0.9 and right["validation"] < 0.6
    dates = {r.split: r.value for r in rows if r.difficulty == 1}
    assert dates["test"] == 1 > dates["validation"]
