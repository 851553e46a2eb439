"""Depo against powers of the permutation that its own text gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import chi_square, in_splits
from pydantic import ValidationError

from generators.depo import Depo
from generators.streams import Stream, generator

TINY = {"nodes": 8, "hops": 3, "symbols": 5, "longest": 2, "queries": 3}


def parsed(task, row):
    """(edges, [(k, word, answer words)]) of a document, words as texts."""
    words, edges, queries = [[]], [], []
    for token in task.vocabulary.decode(row).split()[1:]:
        words[-1].append(token)
        if not token.endswith("-"):
            words.append([])
    words = [" ".join(w) for w in words[:-1] if w != ["<edge>"]]
    i = 0
    while not words[i].startswith("<"):
        edges.append((words[i], words[i + 1]))
        i += 2
    while i < len(words):
        k, asked, marker = words[i : i + 3]
        assert marker == "<ans>"
        written = int(k.strip("<>")) if task.cot else 1
        queries.append((int(k.strip("<>")), asked, words[i + 3 : i + 3 + written]))
        i += 3 + written
    return edges, queries


tasks = st.builds(
    Depo,
    nodes=st.integers(8, 14),
    hops=st.integers(1, 6),
    symbols=st.integers(4, 9),
    longest=st.integers(2, 3),
    queries=st.integers(1, 12),
    separator=st.booleans(),
    score_marker=st.booleans(),
    cot=st.booleans(),
)


@given(tasks, st.integers(0, 20), st.sampled_from(["train", "validation", "test"]), st.booleans())
def test_answers_are_powers_of_the_cycle(task, seed, split, at_difficulty):
    difficulty = task.difficulties[-1] if at_difficulty else None
    task = task.bind(seed)
    rng = generator(seed, Stream.TRAIN)
    batch = task.sample(rng, 12, split=split, difficulty=difficulty)
    for i, row in enumerate(batch.tokens):
        edges, queries = parsed(task, row)
        successor = dict(edges)
        n = len(edges)
        assert n == len(successor) == batch.latents["nodes"][i]
        assert n == task.nodes or (split == "train" and not at_difficulty and n >= 3)
        names = list(successor)
        power = np.zeros((n, n), int)  # one cycle: the n-th power is the first identity
        for a, b in edges:
            power[names.index(a), names.index(b)] = 1
        identity = [
            np.array_equal(np.linalg.matrix_power(power, k), np.eye(n)) for k in range(1, n)
        ]
        assert not any(identity)
        assert len(queries) == min(n, task.queries) == len({asked for _, asked, _ in queries})
        for k, asked, answer in queries:
            assert 1 <= k <= task.hops and (difficulty in (None, k))
            reached = np.linalg.matrix_power(power, k)[names.index(asked)].argmax()
            assert answer[-1] == names[reached]
            for a, b in zip([asked, *answer], answer, strict=False):
                assert not task.cot or successor[a] == b
        start, stop = batch.spans["answer"][i]
        assert task.vocabulary.decode(row[start:stop]) == " ".join(queries[0][2])
        assert batch.difficulty[i] == queries[0][0] and batch.loss_mask[i, start:stop].all()
        scored = task.vocabulary.decode(row[batch.loss_mask[i]]).split()
        wanted = [w for *_, answer in queries for w in [*task.score_marker * ["<ans>"], *answer]]
        assert " ".join(scored) == " ".join(wanted)
        assert (row > 0).sum() <= task.context_length


def test_cycles_and_hops_are_uniform():
    task = Depo(nodes=8, hops=3, symbols=8, longest=1, queries=1, sizes="uniform").bind(0)
    batch = task.sample(generator(0, Stream.TRAIN), 60_000)
    hops = np.bincount(batch.difficulty, minlength=4)[1:]
    assert chi_square(hops, 20_000) < 13.8  # 2 degrees, p = 0.001
    rows = batch.tokens[batch.latents["nodes"] == 3]
    assert 0.14 < len(rows) / 60_000 < 0.194
    # 56 sets of three of the eight words, two cycles through each
    first = rows[:, 1:7].reshape(-1, 3, 2)
    pairs = np.sort(first[:, :, 0] * 100 + first[:, :, 1], axis=1)
    _, counts = np.unique(pairs, axis=0, return_counts=True)
    assert len(counts) == 112
    assert chi_square(counts, len(rows) / 112) < 162  # 111 degrees, p = 0.001


def test_no_held_out_cycle_is_trained_on():
    task = Depo(nodes=8, hops=3, symbols=8, longest=1, queries=1, held_out=0.4).bind(0)
    cycles = in_splits(task, lambda row: frozenset(parsed(task, row)[0]), 20_000, difficulty=1)
    train, validation, test = cycles
    assert len(train | validation | test) > 0.99 * 5040  # of all 7! cycles
    assert len(test) == pytest.approx(5040 * 0.2, rel=0.1)


@pytest.mark.parametrize("cot", [False, True])
def test_words_of_several_tokens_are_judged_whole(cot):
    task = Depo(**TINY, cot=cot).bind(0)
    batch = task.sample(generator(0, Stream.EVALUATION), 64, split="test", difficulty=2)
    start, stop = batch.spans["answer"].T
    right = np.zeros((64, int((stop - start).max())), np.int32)
    for i in range(64):
        right[i, : stop[i] - start[i]] = batch.tokens[i, start[i] : stop[i]]
    assert task.is_correct(batch, right).all()
    wrong = right.copy()
    wrong[np.arange(64), stop - start - 1] += 1
    assert not task.is_correct(batch, wrong).any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nodes": 8, "hops": 8}, "hops 8 leads all around .* nodes 8; lower hops to at most 7"),
        ({"nodes": 60, "symbols": 5}, "symbols 5 make 30 words .* at least nodes 60"),
        ({"longest": 8}, "at most 1000000"),
        ({"shortest": 3}, "longest 2 is less than shortest 3"),
        ({"nodes": 600}, "2461 tokens, more than the context of 2048"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Depo(**fields)


def test_difficulties_and_floor():
    assert Depo(hops=8).difficulties == (1, 2, 4, 8)
    assert Depo(hops=6).difficulties == (1, 2, 4, 6)
    assert Depo(hops=32, nodes=64).difficulties == (1, 2, 4, 8, 16, 24, 32)
    assert Depo(nodes=9).floors(2) == {"other_word": 1 / 8}
    with pytest.raises(ValueError, match="no difficulty 3"):
        Depo().sample(generator(0, Stream.TRAIN), 1, difficulty=3)
