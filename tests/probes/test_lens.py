"""The lens on a solver whose every loop is known, and against independent computations."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hop_solver import TASK, HookedSolver, foreign, looped, subject
from known_models import table

from generators.mano import Mano
from models.config import LoopedConfig
from probes.accuracy import Accuracy
from probes.lens import Lens, latent_names
from probes.questions import questions

V = len(TASK.vocabulary)


def test_the_solver_holds_hop_t_after_loop_t():
    found = table(Lens(items=64).measure(subject(foreign(TASK, 3))))
    for k in (2, 3):
        floor = max(TASK.floors(k, "test").values())
        for loop in (1, 2, 3):
            answer = found["lens_accuracy", "answer", k, loop]
            assert (answer.value == 1) == (loop >= k) and answer.floor == floor
            for hop in range(1, k):
                bridge = found["lens_accuracy", f"hop.{hop}", k, loop]
                assert (bridge.value == 1) == (loop == hop)
                assert bridge.low <= bridge.value <= bridge.high
    at_once = found["lens_rank", "hop.1", 3, 1], found["lens_probability", "hop.1", 3, 1]
    assert [row.value for row in at_once] == [1, pytest.approx(1)]
    assert found["lens_agreement", "prediction", 3, 3].value == 1
    # after two of three loops the answer is there already
    assert found["lens_agreement", "prediction", 2, 2].value == 1
    assert found["lens_agreement", "prediction", 2, 1].value < 0.5
    assert not any(item == "hop.2" for _, item, k, _ in found if k == 2), "that is the answer"


def test_a_model_that_knows_nothing_is_at_the_floors():
    solver = foreign(TASK, 2)
    solver.head.scale = 0.0
    rows = table(Lens(items=64).measure(subject(solver)))
    for (metric, _, _, _), row in rows.items():
        if metric == "lens_rank":
            assert row.value == row.floor == (V + 1) / 2
        if metric == "lens_entropy":
            assert row.value == pytest.approx(row.ceiling) == pytest.approx(np.log(V))
        if metric == "lens_probability":
            assert row.value == pytest.approx(1 / V)


def test_numbers_agree_with_scipy_and_with_the_accuracy_probe():
    model = looped()
    found = table(Lens(items=100).measure(model))
    accuracy = Accuracy(items=100, splits=("test",), loops="all").measure(model)
    for row in accuracy:
        lens = found["lens_accuracy", "answer", row.difficulty, row.loop]
        assert (lens.value, lens.low, lens.floor) == (row.value, row.low, row.floor)
    batch = questions(TASK, 1, "test", 3, 100)
    tokens = torch.from_numpy(batch.tokens).long()
    hop = 1 + TASK.hops + batch.latents["hop.1"]
    for loop in (1, 2, 3):
        logits = model.model(tokens, n_loops=loop).logits()[:, 4].detach().double().numpy()
        p = scipy.special.softmax(logits, axis=1)
        rank = scipy.stats.rankdata(-logits, axis=1)
        rows = np.arange(len(batch))
        for metric, value in {
            "lens_probability": p[rows, hop],
            "lens_rank": rank[rows, hop],
            "lens_accuracy": p.argmax(1) == hop,
        }.items():
            row = found[metric, "hop.1", 3, loop]
            assert row.value == pytest.approx(value.mean(), rel=1e-5)
        entropy = scipy.stats.entropy(p, axis=1).mean()
        assert found["lens_entropy", "prediction", 3, loop].value == pytest.approx(entropy)


def test_block_calls_are_read_through_norm_and_head():
    solved = table(Lens(items=16, blocks=True).measure(subject(HookedSolver(TASK, 3))))
    for loop in (1, 2, 3):
        inside = solved["lens_rank", f"hop.1@core.0.loop.{loop}", 3, loop]
        assert inside.value == solved["lens_rank", "hop.1", 3, loop].value
    for fields in ({}, {"prelude": 1}, {"norm_between_loops": False}):
        found = table(Lens(items=16, blocks=True).measure(looped(**fields)))
        for loop in (1, 2, 3):
            # the state after a loop is the norm of its last block's
            last = found["lens_probability", f"answer@core.1.loop.{loop}", 3, loop]
            assert last.value == pytest.approx(found["lens_probability", "answer", 3, loop].value)
            first = found["lens_probability", f"answer@core.0.loop.{loop}", 3, loop]
            assert first.value != pytest.approx(last.value)
        assert ("lens_rank", "answer@prelude.0.loop.0", 3, 0) in found or "prelude" not in fields


def test_more_loops_than_trained_and_the_result_of_a_chain_of_thought():
    rows = Lens(items=8, loops=5, difficulties=(3,)).measure(looped())
    assert {row.loop for row in rows} == {1, 2, 3, 4, 5}
    task = TASK.model_copy(update={"cot": True}).bind(1)
    answers = questions(task, 1, "test", 3, 8)
    model = LoopedConfig(width=16, heads=2, loops=1).build(V, gate=False, seed=0)
    for span, column in (("answer", 5), ("result", 7)):
        rows = table(Lens(items=8, span=span, difficulties=(3,)).measure(subject(model, task)))
        logits = model(torch.from_numpy(answers.tokens).long()).logits()[:, column - 1].softmax(-1)
        wanted = torch.from_numpy(answers.tokens[:, column]).long()
        value = logits.gather(1, wanted[:, None]).mean().item()
        row = rows["lens_probability", "answer", 3, 1]
        assert row.value == pytest.approx(value)
        # the task's floor is about the result, not about the first step
        assert (rows["lens_accuracy", "answer", 3, 1].floor is None) == (span == "answer")


def test_latent_values_are_named_by_what_answers_say():
    names = latent_names(TASK, 1)
    assert names == {e: 1 + TASK.hops + e for e in range(8)}
    assert latent_names(Mano(length=2).bind(0), 0) == {}


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="blocks reads block calls"):
        Lens(blocks=True).measure(subject(foreign(TASK, 2)))
    with pytest.raises(ValueError, match="no span 'bridge'.*answer"):
        Lens(span="bridge").measure(looped())
    with pytest.raises(ValueError, match="no difficulty 1 in its test split"):
        Lens(difficulties=(1,)).check(TASK)
    assert not Lens.by_default
