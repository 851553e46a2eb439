"""Exit rules on a solver that is done after as many loops as hops, and work counted by hand."""

import numpy as np
import pytest
import torch
from hop_solver import TASK, foreign, looped, subject
from known_models import table

from generators.copying import Copying
from models.exits import exit_log_probabilities
from probes.calibration import expected_calibration_error
from probes.exit_following import counted_blocks, follow
from probes.exits import Exits
from probes.questions import questions

V = len(TASK.vocabulary)


def test_a_gate_that_knows_sends_harder_questions_round_more_often():
    found = table(Exits(items=64, split="train").measure(subject(foreign(TASK, 3, gate=True))))
    for k in (1, 2, 3):
        for item in ("quantile q=0.5", "gate"):
            assert found["exit_loops", item, k, None].value == pytest.approx(k)
        assert found["exit_share", "quantile q=0.5", k, k].value == 1
        assert found["exit_accuracy", "quantile q=0.5", k, None].value == 1
        assert found["exit_accuracy", f"static loop={k}", k, None].value == 1
        assert found["exit_probability", "gate", k, k].value == pytest.approx(1)
        for t in (1, 2):  # the CDF is 1 where the answer is there, 0 where it may be by chance
            chance = 0 if t >= k else found["exit_accuracy", f"static loop={t}", k, None].value
            assert chance < 0.5
            assert found["exit_cdf_ece", "gate", k, t].value == pytest.approx(chance, abs=1e-6)
    early = found["exit_accuracy", "static loop=1", 3, None]
    assert early.low <= early.value < 0.5 and early.floor == pytest.approx(1 / 8)
    for item in ("quantile q=0.5", "gate"):
        assert found["difficulty_correlation", item, None, None].value == pytest.approx(1)
    # the solver is as sure of a bridge as of an answer, so that all leave at once
    assert found["exit_share", "entropy nats=0.1", 3, 1].value == 1
    assert ("difficulty_correlation", "entropy nats=0.1", None, None) not in found
    assert ("difficulty_correlation", "static loop=2", None, None) not in found
    assert not any(metric in ("compute_saved", "blocks_per_document") for metric, *_ in found)


def test_executed_blocks_are_counted_by_hand():
    model = looped(gate=True)
    found = table(Exits(items=16, difficulties=(2,)).measure(model))
    prompt = 4  # <2> e r r; the columns but the last are read at once, as a whole, by 2 · 3 blocks
    for t in (1, 2, 3):
        item = f"static loop={t}"
        blocks = found["blocks_per_document", item, 2, None]
        assert blocks.value == prompt * 2 * 3 + 2 * t
        assert blocks.ceiling == prompt * 2 * 3 + 2 * 3
        assert found["decoding_saved", item, 2, None].value == pytest.approx(1 - t / 3)
        assert found["compute_saved", item, 2, None].value == pytest.approx(2 * (3 - t) / 30)
        assert found["exit_loops", item, 2, None].value == t
    assert found["decoding_saved", "all", 2, None].value == 0
    with counted_blocks(model.model) as counter:
        model.model(torch.ones(3, 5, dtype=torch.long))
    assert counter["blocks"] == 3 * 5 * 2 * 3
    model.model(torch.ones(3, 5, dtype=torch.long))
    assert counter["blocks"] == 90, "nothing is counted afterwards"


def test_a_coda_that_a_rule_reads_the_prompt_with_is_no_work_of_decoding():
    """A rule that may leave after every loop runs the coda of the prompt after every loop too."""
    found = table(Exits(items=16, difficulties=(2,)).measure(looped(gate=True, coda=1)))
    prompt, core = 4, 2 * 3
    blocks = found["blocks_per_document", "entropy nats=0.1", 2, None]
    left = found["exit_loops", "entropy nats=0.1", 2, None].value
    assert blocks.ceiling == (prompt + 1) * (core + 1)
    assert blocks.value == pytest.approx(prompt * (core + 3) + (2 + 1) * left)
    saved = found["decoding_saved", "entropy nats=0.1", 2, None].value
    assert saved == pytest.approx(1 - (2 + 1) * left / (core + 1))


@pytest.mark.parametrize("coda", [0, 1])
def test_decoding_follows_rules_as_reading_all_loops_does(coda):
    """Independent: exits of all loops' states, in numpy, by each rule's own definition."""
    one = looped(gate=True, coda=coda)
    probe = Exits(items=64, difficulties=(3,), q=(0.3, 0.6, 0.9), epsilon=(1.5, 3), nats=(2.5, 3))
    batch = questions(TASK, 1, "test", 3, 64)
    with torch.no_grad():
        outputs = one.model(torch.from_numpy(batch.tokens).long())
    states = torch.stack([outputs.state(t)[:, 4] for t in (1, 2, 3)]).detach().double()
    logits = torch.stack([outputs.logits(t)[:, 4] for t in (1, 2, 3)]).detach().double()
    p = exit_log_probabilities(outputs.exit_logits()[:, :, 4]).exp().detach().numpy()
    moved = (states[1:] - states[:-1]).norm(dim=-1).numpy()
    entropy = torch.distributions.Categorical(logits=logits).entropy().numpy()
    leaves = {f"quantile q={q}": p.cumsum(0) >= q for q in (0.3, 0.6, 0.9)}
    for e in (1.5, 3):
        leaves[f"difference epsilon={e:g}"] = np.r_[np.zeros((1, len(batch)), bool), moved < e]
    leaves |= {f"entropy nats={nats:g}": entropy < nats for nats in (2.5, 3)}
    rules = probe.rules(one.model)
    for item, leaving in leaves.items():
        leaving[-1] = True
        exits = leaving.argmax(0)
        found = follow(one, batch, rules[item], None)
        assert found.exit_loop[:, 0].tolist() == (exits + 1).tolist()
        answers = logits.numpy()[exits, np.arange(len(batch))].argmax(-1)
        assert found.right.tolist() == TASK.is_correct(batch, answers[:, None]).tolist()


def test_rules_that_compare_loops_are_measured_where_they_are_asked_for():
    one = looped(gate=True)
    asked = Exits(items=16, difficulties=(2,), share=(0.5,), acceleration=(1,), kl=(0.1,))
    named = {"fixed-point share=0.5", "acceleration epsilon=1", "kl nats=0.1"}
    assert named == set(asked.rules(one.model)) - set(Exits().rules(one.model))
    found = table(asked.measure(one))
    for item in named:
        assert 2 <= found["exit_loops", item, 2, None].value <= 3
        assert found["exit_share", item, 2, 1].value == 0, "nothing to compare after one loop"


@pytest.mark.parametrize("name", ["q", "epsilon", "nats", "share", "acceleration", "kl"])
def test_a_negative_threshold_is_refused_before_anything_is_trained(name):
    with pytest.raises(ValueError, match=rf"{name}\.1\n  Input should be greater than or equal"):
        Exits.model_validate({name: [0, -0.5]})


def test_calibration_error_against_a_loop_and_known_cases():
    rng = np.random.default_rng([0, 7, 0])
    confidence = rng.random(20_000)
    right = rng.random(20_000) < confidence
    assert expected_calibration_error(confidence, right) < 0.01
    assert expected_calibration_error(confidence, ~right) == pytest.approx(0.5, abs=0.01)
    assert expected_calibration_error(np.ones(4), np.array([1, 0, 0, 0])) == 0.75
    total = 0.0
    for b in range(7):
        inside = (confidence > b / 7) & (confidence <= (b + 1) / 7)
        total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(confidence, right, 7) == pytest.approx(total)
    for wrong in (([], []), ([0.5], [1, 0]), ([1.5], [1])):
        with pytest.raises(ValueError, match=r"needed as many|lie in \[0, 1\]"):
            expected_calibration_error(*map(np.array, wrong))


def test_a_gate_that_knows_nothing_and_one_that_is_missing():
    blind = looped(gate=True)
    torch.nn.init.zeros_(blind.model.gate.weight)
    found = table(Exits(items=32).measure(blind))
    for t, p in ((1, 0.5), (2, 0.25), (3, 0.25)):
        assert found["exit_probability", "gate", 3, t].value == pytest.approx(p)
    assert found["exit_loops", "gate", 3, None].value == pytest.approx(1.75)
    assert ("difficulty_correlation", "quantile q=0.5", None, None) not in found
    wrong = found["exit_accuracy", "static loop=1", 3, None].value
    assert found["exit_cdf_ece", "gate", 3, 1].value == pytest.approx(abs(0.5 - wrong))
    rules = Exits().rules(looped().model)
    assert not any("quantile" in item for item in rules) and "static loop=3" in rules
    with pytest.raises(ValueError, match="leaves after loop 4, but loops is 3"):
        Exits(static=(4,)).rules(blind.model)


def test_longer_answers_are_decoded_and_refused_where_nothing_decodes():
    task = Copying(length=4, symbols=12).bind(0)
    found = table(
        Exits(items=8, difficulties=task.difficulties[:1]).measure(looped(task, gate=True))
    )
    assert {"exit_accuracy", "compute_saved"} <= {metric for metric, *_ in found}
    task = TASK.model_copy(update={"cot": True}).bind(1)
    with pytest.raises(ValueError, match="answers of a single token; multihop has answers of 3"):
        Exits(items=4, difficulties=(3,)).measure(subject(foreign(TASK, 2), task))
