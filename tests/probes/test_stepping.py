"""One question, loop by loop, of a solver whose every loop is known and of untrained models."""

import numpy as np
import pytest
import torch
from hop_solver import TASK, foreign, looped, subject

from generators.multihop import MultiHop
from probes.lens import Lens
from probes.questions import questions
from probes.stepping import CANDIDATES, step_through


def test_the_solver_says_the_entity_of_every_hop_and_leaves_at_the_answer() -> None:
    found = step_through(subject(foreign(TASK, 3, gate=True)), 4)
    assert [one.difficulty for one in found] == [2] * 4 + [3] * 4
    for one in found:
        # the question is followed by hand through the table
        _, first, *relations = one.question.split()
        reached = [int(first[1:])]
        for relation in relations:
            reached.append(int(TASK.table[int(relation[1:]), reached[-1]]))
        k = len(relations)
        assert one.question.startswith(f"<{k}> ") and k == one.difficulty
        assert one.answer == f"e{reached[-1]}"
        assert one.bridges == tuple((f"hop.{t}", f"e{reached[t]}") for t in range(1, k))
        said = [step.candidates[0] for step in one.steps]
        assert said[:k] == [(f"e{entity}", pytest.approx(1)) for entity in reached[1:]]
        assert one.steps[k - 1].answer == pytest.approx(1)
        assert one.steps[0].bridges[0] == pytest.approx(1), "after one loop it holds hop 1"
        leaves = [step.exit for step in one.steps]
        assert leaves == pytest.approx([float(t == k) for t in (1, 2, 3)])


def test_means_over_questions_are_those_of_the_lens() -> None:
    model = looped(gate=True)
    found = step_through(model, 30)
    rows = {(r.metric, r.item, r.difficulty, r.loop): r for r in Lens(items=30).measure(model)}
    for difficulty in (2, 3):
        asked = [one for one in found if one.difficulty == difficulty]
        assert len(asked) == rows["lens_accuracy", "answer", difficulty, 1].n_items > 10
        for loop in (1, 2, 3):
            steps = [one.steps[loop - 1] for one in asked]
            wanted = rows["lens_probability", "answer", difficulty, loop].value
            assert np.mean([s.answer for s in steps]) == pytest.approx(wanted)
            wanted = rows["lens_probability", "hop.1", difficulty, loop].value
            assert np.mean([s.bridges[0] for s in steps]) == pytest.approx(wanted)
            right = [s.candidates[0][0] == one.answer for s, one in zip(steps, asked, strict=True)]
            assert np.mean(right) == rows["lens_accuracy", "answer", difficulty, loop].value
            for s in steps:
                p = [share for _, share in s.candidates]
                assert len(p) == CANDIDATES and p == sorted(p, reverse=True)


def test_probabilities_are_those_of_a_forward_pass() -> None:
    model = looped(gate=True)
    one = step_through(model, 3)[1]
    batch = questions(TASK, 1, "test", 2, 3)
    with torch.no_grad():
        outputs = model.model(torch.from_numpy(batch.tokens[1:2, :4]).long())
        p = outputs.logits(2)[0, 3].double().softmax(-1)
        gates = outputs.exit_logits()[:, 0, 3].sigmoid()
    assert one.steps[1].answer == pytest.approx(float(p[int(batch.tokens[1, 4])]))
    kept = (1 - gates[0]) * gates[1], (1 - gates[0]) * (1 - gates[1])
    wanted = [float(gates[0]), *map(float, kept)]
    assert [step.exit for step in one.steps] == pytest.approx(wanted, abs=1e-6)


def test_without_a_gate_there_is_no_exit_and_without_names_no_bridge() -> None:
    assert {step.exit for one in step_through(looped(), 2) for step in one.steps} == {None}
    chain = MultiHop(entities=8, relations=4, hops=2, held_out=0.3, cot=True).bind(0)
    for one in step_through(looped(chain), 2):
        assert one.question.split()[0] == "<2>" and len(one.question.split()) > 4, "with its chain"


def test_a_split_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="tset"):
        step_through(looped(), 2, split="tset")
