"""The published variants of bioS: multiM, permuteP, full names, reversed dates, one frozen text."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from generators.biographies import Biographies
from generators.streams import Stream, generator
from generators.templates import ATTRIBUTES


def told(task: Biographies, epochs: int = 40) -> list[set[tuple[tuple[str, ...], str]]]:
    """Of each person, the different texts: (order of the attributes, all sentences sorted)."""
    found = [set() for _ in range(task.people)]
    for step in range(epochs):
        rng = generator(0, Stream.TRAIN, step)
        batch = task.sample(rng, task.people, index=step * task.people)
        for i, person in enumerate(batch.latents["person"]):
            starts = {name: int(batch.spans[name][i, 0]) for name in ATTRIBUTES}
            order = tuple(sorted(starts, key=starts.__getitem__))
            words = task.vocabulary.decode(batch.tokens[i]).split()
            name = task.vocabulary.decode(batch.tokens[i, slice(*batch.spans["name"][i])]).split()
            plain = [word for word in words[1:] if word not in {"he", "she", "his", "her", "'s"}]
            for word in name * (6 if task.fullname else 1):
                plain.remove(word)
            found[person].add((order, " ".join(sorted(plain))))
    return found


@pytest.mark.parametrize(
    "fullname, permute, same, versions",
    [
        (fullname, permute, same, versions)
        for fullname, (permute, same), versions in itertools.product(
            (False, True), ((False, False), (True, False), (True, True)), (1, 2, 5)
        )
    ],
)
def test_the_published_variants(fullname, permute, same, versions) -> None:
    """Single and multiM keep the order; permuteP keeps the sentences; multiM+permute neither."""
    task = Biographies(
        people=12, versions=versions, permute=permute, same_sentences=same, fullname=fullname
    ).bind(0)
    for texts in told(task):
        orders, sentences = ({text[i] for text in texts} for i in (0, 1))
        assert len(texts) <= versions
        assert (len(orders) == 1) or permute
        assert (len(sentences) == 1) or not same
    if versions > 1:
        different = [len({text[0 if same else 1] for text in texts}) for texts in told(task)]
        assert np.mean(different) > 0.8 * versions


def test_permute_changes_neither_facts_nor_the_first_text() -> None:
    free = Biographies(people=20, versions=5).bind(0)
    same = Biographies(people=20, versions=5, same_sentences=True).bind(0)
    assert np.array_equal(free.world.names, same.world.names)
    assert np.array_equal(free._fixed_texts[0], same._fixed_texts[0])
    assert np.array_equal(free._fixed_texts[1][::5], same._fixed_texts[1][::5])


@pytest.mark.parametrize("templates", [4, 44])
def test_reversed_dates_say_the_same_with_the_day_first(templates: int) -> None:
    plain = Biographies(people=60, templates=templates, pools="full").bind(0)
    turned = Biographies(people=60, templates=templates, pools="full", reversed_date=True).bind(0)
    a, b = (task.sample(generator(0, Stream.TRAIN), 60, index=0) for task in (plain, turned))
    start = b.spans["birth_date"][:, 0]
    assert np.array_equal(a.spans["birth_date"], b.spans["birth_date"])
    dates = [
        [turned.vocabulary.tokens[t] for t in b.tokens[i, s : s + 3]] for i, s in enumerate(start)
    ]
    assert all([w.split(":")[0] for w in date] == ["day", "month", "year"] for date in dates)
    outside = np.ones(b.tokens.shape, bool)
    for shift in range(3):
        outside[np.arange(60), start + shift] = False
    assert np.array_equal(a.tokens[outside], b.tokens[outside])
    assert np.array_equal(np.sort(a.tokens, axis=1), np.sort(b.tokens, axis=1))
    if templates == 4:  # the plain ones are month first
        assert not np.array_equal(a.tokens, b.tokens)


def test_people_apart_share_no_name() -> None:
    """Together they take every name there is: nobody is left out and nobody occurs twice."""
    some = Biographies(people=1000).bind(3)
    others = Biographies(people=32**3 - 1000, apart_from=1000).bind(3)
    names = [set(map(tuple, task.world.names.tolist())) for task in (some, others)]
    assert len(names[0] | names[1]) == 32**3 and not names[0] & names[1]
    few = Biographies(people=100, apart_from=1000, versions=2).bind(3)
    assert not names[0] & set(map(tuple, few.world.names.tolist()))
    assert not np.array_equal(few.world.facts["major"], some.world.facts["major"][:100])
    control = Biographies(people=1000).bind(4)
    assert names[0] & set(map(tuple, control.world.names.tolist()))


def test_as_many_names_as_are_left() -> None:
    with pytest.raises(ValidationError, match="people 2 is more than the 1 full names"):
        Biographies(people=2, apart_from=32**3 - 1)
    with pytest.raises(ValidationError, match="same_sentences needs versions .* and permute, got"):
        Biographies(same_sentences=True)
    with pytest.raises(ValidationError, match="versions 2, permute False"):
        Biographies(same_sentences=True, versions=2, permute=False)


def test_new_fields_change_no_old_document() -> None:
    """Other orders of documents only where the task is a later part of a mixture."""
    task = Biographies(people=9)
    first, later = (task.bind(1, component=c).shown(0, 9) for c in (0, 2))
    assert np.array_equal(first, task.bind(1).shown(0, 9))
    assert not np.array_equal(first, later) and sorted(later) == list(range(9))


HALF_A_MILLION = """
import re, time
from pathlib import Path
def peak():  # not ru_maxrss, which Linux keeps from the process that became this one
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak()
from generators.biographies import Biographies
from generators.streams import Stream, generator
task = Biographies(people=500_000, pools="full", templates=44, versions=5).bind(0)
start = time.process_time()
task.world
print(time.process_time() - start)
task.sample(generator(0, Stream.TRAIN), 1000, index=0)
print(peak() - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc"
)
def test_half_a_million_people_fit() -> None:
    """World within 5 s and, with the texts' numbers, 500 MB."""
    done = subprocess.run(
        [sys.executable, "-c", HALF_A_MILLION], capture_output=True, text=True, check=True
    )
    seconds, used = map(float, done.stdout.split())
    assert seconds < 5 and 0 < used * 1024 < 500e6


def test_the_name_comes_last_and_once() -> None:
    """The same facts in the same sentences; only who it is about is said at the end."""
    fields = {"people": 30, "templates": 6}
    first = Biographies(**fields).bind(0)
    last = Biographies(**fields, name_last=True).bind(0)
    batches = [t.write(generator(0, Stream.TRAIN), np.arange(30)) for t in (first, last)]
    pronouns = {"he": 0, "his": 0, "she": 1, "her": 1}
    for i, gender in enumerate(first.world.facts["gender"]):
        said, rest = [], []
        for task, batch in zip((first, last), batches, strict=True):
            row, spans = batch.tokens[i], batch.spans
            read = {name: task.vocabulary.decode(row[slice(*spans[name][i])]) for name in spans}
            text, name = task.vocabulary.decode(row), read["name"]
            said.append([name, *(read[a] for a in ATTRIBUTES)])
            assert text.count(name) == 1 and pronouns[read["gender"]] == gender
            assert batch.loss_mask[i].nonzero()[0].tolist() == list(range(1, (row != 0).sum()))
            if task is last:
                assert text.endswith(f" . this is {name} .") and text.split()[1] == read["gender"]
                text = text.removesuffix(f" this is {name} .")
            text = text.replace(name, "")
            rest.append([w for w in text.split() if w not in pronouns and w != "'s"])
        assert said[0] == said[1] and rest[0] == rest[1]
    assert first.information_bits() == last.information_bits()


def test_the_longest_text_with_the_name_last_is_as_long_as_said() -> None:
    task = Biographies(people=50, name_last=True, templates=8).bind(0)
    rng = generator(0, Stream.TRAIN)
    lengths = [(task.sample(rng, 4000).tokens != 0).sum(1).max() for _ in range(4)]
    assert task.context_length - 1 <= max(lengths) <= task.context_length


def test_a_name_cannot_be_last_and_everywhere() -> None:
    with pytest.raises(ValidationError, match="name_last leaves no name for fullname to repeat"):
        Biographies(name_last=True, fullname=True)
