"""Mano against an independent parser, enumeration and a plain recursive sampler."""

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import chi_square, in_splits
from pydantic import ValidationError

from generators.mano import Mano
from generators.streams import Stream, generator
from generators.support.expressions import answer_law


def value_of(words, modulus):
    """(value, values of all operators in prefix order, depth, words left) of a prefix text."""
    word, rest = words[0], words[1:]
    if word.isdigit():
        return int(word), [], 0, rest
    a, inside_a, depth_a, rest = value_of(rest, modulus)
    b, inside_b, depth_b, rest = value_of(rest, modulus)
    value = {"+": a + b, "-": a - b, "*": a * b}[word.strip("'")] % modulus
    return value, [value, *inside_a, *inside_b], 1 + max(depth_a, depth_b), rest


def text(task, row):
    return task.vocabulary.decode(row).split()


tasks = st.builds(
    Mano,
    length=st.integers(2, 7),
    modulus=st.integers(7, 11),
    operators=st.sampled_from(["+-*", "-*", "*+"]),
    cot=st.booleans(),
    synonyms=st.booleans(),
    answer_tells_length=st.booleans(),
    loss=st.sampled_from(["all", "answer"]),
)


@given(tasks, st.integers(0, 30), st.sampled_from(["train", "validation", "test"]))
def test_documents_say_what_they_should(task, seed, split):
    batch = task.bind(seed).sample(generator(seed, Stream.TRAIN), 24, split=split)
    for i, row in enumerate(batch.tokens):
        words = text(task, row)
        size = int(batch.difficulty[i])
        end = 2 * size + 3
        assert words[0].strip("'") == "<bos>" and words[1].strip("'") == f"<len_{size}>"
        value, steps, depth, rest = value_of(words[2:end], task.modulus)
        assert rest == [] and len(steps) == size and depth == batch.latents["depth"][i]
        marker = f"<ans_{size}>" if task.answer_tells_length else "<ans>"
        assert words[end].strip("'") == marker
        answer = steps[::-1] if task.cot else [value]
        assert words[end + 1 :] == [str(v) for v in answer]
        assert batch.spans["answer"][i].tolist() == [end + 1, len(words)]
        assert len(words) <= task.context_length
        scored = batch.loss_mask[i].nonzero()[0].tolist()
        assert scored == list(range(1 if task.loss == "all" else end + 1, len(words)))
        left, _, _, rest = value_of(words[3:end], task.modulus)
        assert batch.latents["left"][i] == left
        assert batch.latents["right"][i] == value_of(rest, task.modulus)[0]


def shapes(size):
    """All trees of so many operators with their probabilities, as prefix strings of o and x."""
    if size == 0:
        return {"x": Fraction(1)}
    found = Counter()
    for left in range(size):
        for (a, p), (b, q) in itertools.product(
            shapes(left).items(), shapes(size - 1 - left).items()
        ):
            found["o" + a + b] += p * q / size
    return found


def enumerated_law(size, modulus, operators):
    law = np.zeros(modulus)
    for shape, probability in shapes(size).items():
        choices = [operators if c == "o" else [str(v) for v in range(modulus)] for c in shape]
        values = [value_of(list(words), modulus)[0] for words in itertools.product(*choices)]
        law += float(probability) * np.bincount(values, minlength=modulus) / len(values)
    return law


@pytest.mark.parametrize(("size", "modulus"), [(1, 5), (2, 5), (3, 3)])
def test_answer_law_by_enumeration(size, modulus):
    law = answer_law(3, modulus, "+-*")[size]
    assert law == pytest.approx(enumerated_law(size, modulus, "+-*"))


def test_floors_are_those_of_the_literature():
    task = Mano(length=24)
    published = {2: 6.18, 3: 6.42, 4: 6.58, 5: 6.70, 10: 7.03, 13: 7.13, 16: 7.21, 24: 7.35}
    found = {k: round(100 * task.floors(k)["majority"], 2) for k in published}
    assert found == published
    assert 100 * task.floors(1, "train")["majority"] == pytest.approx(5.73, abs=0.005)
    assert task.floors()["majority"] == pytest.approx(
        np.mean([task.floors(k)["majority"] for k in range(2, 25)])
    )


def test_answers_and_shapes_follow_their_law():
    task = Mano(length=4, modulus=7).bind(1)
    n = 40_000
    batch = task.sample(generator(1, Stream.TRAIN), n, difficulty=3)
    answers = batch.tokens[:, 10] - task.vocabulary.id("0")
    law = answer_law(3, 7, "+-*")[3]
    assert chi_square(np.bincount(answers, minlength=7), n * law) < 22.5  # 6 degrees, p = .001
    # negative control: the law is not uniform
    assert chi_square(np.bincount(answers, minlength=7), np.full(7, n / 7)) > 100
    inner = batch.tokens[:, 2:9] < task.vocabulary.id("0")
    seen = Counter("".join("xo"[int(i)] for i in row) for row in inner)
    wanted = shapes(3)
    assert seen.keys() == wanted.keys()
    expected = np.array([n * float(p) for p in wanted.values()])
    found = np.array([seen[s] for s in wanted])
    assert chi_square(found, expected) < 18.5  # 4 degrees


def test_lengths_are_drawn_in_equal_parts():
    batch = Mano(length=5).bind(0).sample(generator(0, Stream.TRAIN), 20_000)
    assert chi_square(np.bincount(batch.difficulty)[1:], np.full(5, 4000.0)) < 18.5


def test_splits_share_no_expression_and_leave_none_out():
    task = Mano(length=2, modulus=5, held_out=0.3).bind(2)
    found = in_splits(task, lambda row: row[2:7].tobytes(), 20_000, difficulty=2)
    assert len(set().union(*found)) == 2 * 9 * 5**3
    tables = task.sample(generator(2, Stream.TRAIN), 20_000, difficulty=1)
    assert len({row[2:5].tobytes() for row in tables.tokens}) == 3 * 5**2
    with pytest.raises(ValueError, match="no difficulty 1 in its test split"):
        task.sample(generator(2, Stream.TRAIN), 1, split="test", difficulty=1)


def test_only_the_result_of_a_chain_of_thought_counts():
    task = Mano(length=3, cot=True).bind(0)
    batch = task.sample(generator(0, Stream.EVALUATION), 8, difficulty=3)
    start = batch.spans["answer"][0, 0]
    right = batch.tokens[:, start : start + 3].copy()
    assert task.is_correct(batch, right).all()
    detour, wrong = right.copy(), right.copy()
    detour[:, 0] = 1
    wrong[:, 2] = 1
    assert task.is_correct(batch, detour).all() and not task.is_correct(batch, wrong).any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"length": 600},
            "1205 tokens, more than .* 1024; lower length to at most 509",
        ),
        ({"length": 600, "cot": True}, "1804 tokens.*lower length to at most 340"),
        ({"operators": "+/"}, r"some of \+-\*, each once, not '\+/'"),
        ({"operators": "++"}, "each once"),
        ({"modulus": 2, "operators": "+"}, "of the 8 expressions .* fewer than 40"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Mano(**fields)


@pytest.mark.parametrize(("length", "cot"), [(509, False), (340, True)])
def test_the_way_out_fits(length, cot):
    Mano(length=length, cot=cot)
    with pytest.raises(ValidationError):
        Mano(length=length + 1, cot=cot)


def tree(words):
    """A nested tuple of an expression in prefix notation, and the words after it."""
    if words[0] not in "+-*":
        return words[0], words[1:]
    left, rest = tree(words[1:])
    right, rest = tree(rest)
    return (words[0], left, right), rest


def up_to_order(node):
    """The same for expressions that differ in the order of the operands of + and *."""
    if isinstance(node, str):
        return node
    operands = [up_to_order(node[1]), up_to_order(node[2])]
    return (node[0], *(operands if node[0] == "-" else sorted(operands, key=repr)))


def test_no_mirror_image_of_a_held_out_expression_is_in_training():
    task = Mano(length=2, modulus=5, held_out=0.5).bind(0)

    def found(split, seed):
        batch = task.sample(generator(seed, Stream.TRAIN), 4000, split=split, difficulty=2)
        words = [task.vocabulary.decode(row).split()[2:7] for row in batch.tokens]
        return {" ".join(w) for w in words}, {up_to_order(tree(w)[0]) for w in words}

    train, train_classes = found("train", 0)
    for split in ("validation", "test"):
        written, classes = found(split, 1)
        assert not written & train and not classes & train_classes
        assert len(classes) < 0.6 * len(written)  # the mirror images are there, in one split
    # + and * alone have mirror images: with - every expression is its own
    plain = Mano(length=2, modulus=11, operators="-").bind(0)
    batch = plain.sample(generator(0, Stream.TRAIN), 2000, difficulty=2)
    assert plain.version == 2 and len({row.tobytes() for row in batch.tokens}) > 400
