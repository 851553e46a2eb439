"""Several samples of an answer: estimators by enumeration, samples by their probabilities."""

from itertools import combinations, product

import numpy as np
import pytest
import torch
from known_models import Given, subject
from scipy.stats import chisquare

from generators.brevo import Brevo
from generators.mano import Mano
from generators.multihop import MultiHop
from generators.streams import Stream, generator
from generators.task import Batch
from models.config import LoopedConfig
from models.decoding.generation import Sampling, generate
from probes.accuracy import Accuracy, greedy_answers, sampled_answers
from probes.pass_at_k import PassAtK, most_voted, pass_at_k, votes_of


def equally_likely(task, tokens: slice) -> Given:
    logits = torch.full((len(task.vocabulary),), -torch.inf)
    logits[tokens] = 0.0
    return Given(lambda read: logits.expand(*read.shape, -1), loops=2)


def by_metric(rows, **where):
    chosen = [r for r in rows if all(getattr(r, k) == v for k, v in where.items())]
    return {row.metric: row for row in chosen}


@pytest.mark.parametrize("samples, k", [(1, 1), (5, 1), (5, 2), (6, 4), (6, 6)])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(samples: int, k: int) -> None:
    found = pass_at_k(np.arange(samples + 1), samples, k)
    for c in range(samples + 1):
        drawn = [any(i < c for i in subset) for subset in combinations(range(samples), k)]
        assert found[c] == pytest.approx(np.mean(drawn))


def test_pass_at_k_is_unbiased_over_all_outcomes() -> None:
    """Its mean over every possible series of seven tries is the chance of one in three."""
    p, samples, k = 0.3, 7, 3
    outcomes = np.array(list(product([0, 1], repeat=samples)))
    weight = p ** outcomes.sum(1) * (1 - p) ** (samples - outcomes.sum(1))
    mean = weight @ pass_at_k(outcomes.sum(1), samples, k)
    assert mean == pytest.approx(1 - (1 - p) ** k)
    naive = weight @ (1 - (1 - outcomes.mean(1)) ** k)
    assert naive < mean - 0.02  # what the estimator is for
    with pytest.raises(ValueError, match="pass@8 needs at least 8 samples"):
        pass_at_k(outcomes.sum(1), samples, 8)


def test_samples_come_with_their_softmax_probabilities() -> None:
    """Two tokens, the second given the first, at another temperature: all nine answers."""
    logits = torch.randn(10, 10, generator=torch.Generator().manual_seed(0)) * 1.5
    logits[:, :7] = -torch.inf  # answers are among 7, 8 and 9
    model = Given(lambda tokens: logits[tokens], loops=2)
    tokens = np.array([[3, 4, 7, 7]], np.int32)
    batch = Batch(tokens, tokens > 0, {"answer": np.array([[2, 4]], np.int32)}, {}, np.zeros(1))
    sampling, rng = Sampling(temperature=0.7, samples=20_000), generator(0, Stream.PROBE)
    drawn = sampled_answers(model, batch, sampling, rng)[0] - 7
    assert drawn.shape == (20_000, 2)
    p = (logits.double() / 0.7).softmax(-1)[:, 7:].numpy()
    expected = p[4][:, None] * p[7:]
    counts = np.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9)
    assert chisquare(counts, expected.ravel() * 20_000).pvalue > 0.01
    other = (logits.double()).softmax(-1)[:, 7:].numpy()  # the control: temperature 1
    assert chisquare(counts, (other[4][:, None] * other[7:]).ravel() * 20_000).pvalue < 1e-6


def test_metrics_have_the_values_that_a_known_chance_gives() -> None:
    """Right with probability 0.6, else one of seven wrong answers alike."""
    task = MultiHop(entities=8, relations=4, hops=2, world="permutation").bind(1)
    first_entity, first_relation = 1 + task.hops, 1 + task.hops + task.entities

    def log_p(tokens):
        p = torch.full((*tokens.shape, len(task.vocabulary)), 0.0)
        entities = slice(first_entity, first_entity + 8)
        for b, row in enumerate(tokens.tolist()):
            entity = row[1] - first_entity
            for relation in row[2 : 2 + row[0]]:
                entity = task.table[relation - first_relation, entity]
            p[b, :, entities] = 0.4 / 7
            p[b, :, first_entity + entity] = 0.6
        return p.log()

    probe = PassAtK(items=60, split="train", difficulties=(2,), samples=9, k=(1, 3, 9))
    model = Given(log_p, loops=2)
    rows = by_metric(probe.measure(subject(model, task)))
    assert list(rows) == ["pass_at_1", "pass_at_3", "pass_at_9", "majority_vote"]
    for k in (1, 3, 9):
        row = rows[f"pass_at_{k}"]
        assert row.low < 1 - 0.4**k < row.high
        assert row.floor == pytest.approx(1 - (1 - 1 / 8) ** k)
    vote = rows["majority_vote"]
    assert vote.value > 0.85 and vote.value > rows["pass_at_1"].value + 0.15
    assert vote.floor == pytest.approx(1 / 8)
    assert (vote.n_items, vote.difficulty, vote.loop) == (60, 2, 2)
    assert vote.item == "temperature 1, 9 samples"
    sharper = probe.model_copy(update={"k": (1,), "temperature": 0.25})
    assert by_metric(sharper.measure(subject(model, task)))["pass_at_1"].value > 0.97


def test_who_guesses_passes_as_often_as_the_floors_say() -> None:
    task = MultiHop(entities=8, relations=4, hops=2, world="permutation").bind(1)
    entity = torch.zeros(len(task.vocabulary)).bool()
    entity[1 + task.hops : 1 + task.hops + 8] = True
    blank = Given(
        lambda tokens: torch.zeros(*tokens.shape, len(entity)).where(entity, -torch.inf), loops=2
    )
    for row in PassAtK(items=60, split="train", samples=8, k=(1, 4)).measure(subject(blank, task)):
        assert row.low < row.floor < row.high, row


def test_the_vote_counts_results_whatever_the_chain() -> None:
    """Chains of one or two words before a result of one; by the result 6 wins, not by the whole."""
    answer, result = np.array([[2, 4], [2, 5]], np.int32), np.array([[3, 4], [4, 5]], np.int32)
    tokens = np.array([[1, 1, 5, 6, 0], [1, 1, 5, 5, 7]], np.int32)
    batch = Batch(tokens, tokens > 0, {"answer": answer, "result": result}, {}, np.zeros(2))
    answers = np.array(
        [
            [[5, 9, 0], [5, 9, 0], [1, 6, 0], [2, 6, 0], [3, 6, 0]],
            [[1, 6, 7], [1, 6, 8], [1, 6, 8], [2, 3, 7], [0, 0, 9]],
        ],
        np.int32,
    )
    votes = votes_of(batch, answers)
    assert votes[..., 0].tolist() == [[9, 9, 6, 6, 6], [7, 8, 8, 7, 9]]
    assert most_voted(votes).tolist() == [2, 0]  # of 7 and 8, both twice, the one drawn first
    del batch.spans["result"]
    assert most_voted(votes_of(batch, answers)).tolist() == [0, 1]


TASKS = [
    Mano(length=3, modulus=7, cot=True),
    MultiHop(entities=8, relations=4, hops=3, cot=True),
    MultiHop(entities=8, relations=4, hops=3),
    Brevo(cot=True),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_chains_are_written_as_decoding_writes_them(task) -> None:
    """Greedy, and sampled with the same random numbers, as the cached decoder."""
    task = task.bind(0)
    config = LoopedConfig(width=16, loops=2)
    model = config.build(len(task.vocabulary), gate=False, seed=0).eval()
    batch = task.sample(generator(0, Stream.EVALUATION), 12)
    start, stop = torch.from_numpy(batch.spans["answer"]).long().T
    inside = torch.arange(int(start.max())) < start[:, None]
    prompts = torch.where(inside, torch.from_numpy(batch.tokens).long()[:, : int(start.max())], 0)
    for sampling in (Sampling(), Sampling(temperature=0.8, samples=3)):
        rng = None if sampling.temperature == 0 else generator(1, Stream.PROBE)
        wanted = generate(
            model, prompts, stop - start, attention_mask=inside, sampling=sampling, rng=rng
        ).tokens
        rng = None if sampling.temperature == 0 else generator(1, Stream.PROBE)
        found = sampled_answers(model, batch, sampling, rng)
        assert found.reshape(wanted.shape).tolist() == wanted.tolist()
    assert (greedy_answers(model, batch) == sampled_answers(model, batch, Sampling())[:, 0]).all()


class AnyEven(MultiHop):
    """Whatever entity with an even number is right."""

    def is_correct(self, batch: Batch, generated: np.ndarray) -> np.ndarray:
        return (generated[:, 0] - 1 - self.hops) % 2 == 0


def test_the_task_says_what_is_right() -> None:
    task = AnyEven(entities=8, relations=4, hops=2).bind(0)
    even = torch.zeros(len(task.vocabulary)).bool()
    even[1 + task.hops : 1 + task.hops + 8 : 2] = True
    model = Given(
        lambda tokens: torch.zeros(*tokens.shape, len(even)).where(even, -torch.inf), loops=2
    )
    rows = PassAtK(items=20, samples=4, k=(1, 4)).measure(subject(model, task))
    assert [row.value for row in rows] == [1, 1, 1]


def test_loops_and_settings() -> None:
    task = MultiHop(entities=8, relations=4, hops=3).bind(0)
    model = LoopedConfig(width=16, loops=2).build(len(task.vocabulary), gate=False, seed=0).eval()
    probe = PassAtK(items=16, samples=2, k=(1,), loops="all", top_p=0.9)
    rows = probe.measure(subject(model, task))
    assert rows == probe.measure(subject(model, task))
    assert [(r.difficulty, r.loop) for r in rows[::2]] == [(2, 1), (2, 2), (3, 1), (3, 2)]
    assert rows[0].item == "temperature 1, top p 0.9, 2 samples"
    cold = PassAtK(items=64, samples=1, k=(1,), temperature=1e-6).measure(subject(model, task))
    greedy = Accuracy(items=64, splits=("test",)).measure(subject(model, task))
    assert [r.value for r in cold[::2]] == [r.value for r in greedy]
    with pytest.raises(ValueError, match="k 5 has to lie between 1 and samples, 4"):
        PassAtK(samples=4, k=(1, 5))
