"""Loops in training, starting from another run, and what a config cannot ask for."""

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.config.costs import cost
from experiments.config.loop_sampling import LoopDraw, expected_loops, loops_of_step
from experiments.config.run import Observe, RunConfig
from experiments.errors import LoopscopeError
from experiments.execution.order import waves_of
from experiments.execution.runner import run_grid
from experiments.grid.grid import Grid, GridPoint
from experiments.grid.run_checks import problems
from experiments.measuring.load import load_model
from experiments.runs.folder import RunFolder
from experiments.training.train import train
from generators.multihop import MultiHop

STEPS = 6


def config(**changes: Any) -> RunConfig:
    phase = {"until_step": STEPS} | changes.pop("phase", {})
    fields = {
        "task": MultiHop(entities=8, relations=4, hops=2),
        "model": {"width": 16, "heads": 2, "loops": 3} | changes.pop("model", {}),
        "training": {"batch": 8, "lr": 4e-3, "phases": [phase]} | changes.pop("training", {}),
        "observe": Observe(probes=(), log_every=1, checkpoint_seconds=1000),
    }
    return RunConfig.model_validate(fields | changes)


def trained(path: Path, run: RunConfig) -> RunFolder:
    folder = RunFolder(path / run.run_id)
    assert train(run, folder)
    return folder


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return torch.load(folder.checkpoint_path, weights_only=True)["model"]


def test_poisson_is_clipped_and_uniform_is_even() -> None:
    found = LoopDraw(kind="poisson", least=2, most=5).probabilities(3)
    poisson = [math.exp(-3) * 3**n / math.factorial(n) for n in range(60)]
    expected = {2: sum(poisson[:3]), 3: poisson[3], 4: poisson[4], 5: sum(poisson[5:])}
    assert found == pytest.approx(expected) and sum(found.values()) == pytest.approx(1)
    assert LoopDraw(kind="uniform", least=2, most=5).probabilities(9) == dict.fromkeys(
        range(2, 6), 0.25
    )
    assert LoopDraw(kind="poisson", most=1).probabilities(4) == pytest.approx({1: 1.0})


@pytest.mark.parametrize("kind", ["uniform", "poisson"])
def test_draws_follow_their_probabilities(kind: str) -> None:
    draw = LoopDraw.model_validate({"kind": kind, "most": 4})
    counts = Counter(draw.draw(2, 0, step) for step in range(4000))
    for loops, probability in draw.probabilities(2).items():
        error = math.sqrt(probability * (1 - probability) / 4000)
        assert counts[loops] / 4000 == pytest.approx(probability, abs=4 * error)


def test_loops_depend_on_seed_and_step_alone() -> None:
    draw = LoopDraw(kind="uniform", most=8)
    first = [loops_of_step(draw, 4, 0, step) for step in range(50)]
    assert first == [loops_of_step(draw, 4, 0, step) for step in range(50)]
    assert first != [loops_of_step(draw, 4, 1, step) for step in range(50)]
    assert [loops_of_step(None, 4, 0, step) for step in range(3)] == [4, 4, 4]
    assert list(expected_loops(None, 4)) == [(4, 1.0)]


def test_a_run_with_drawn_loops_resumes_and_is_charged_for_what_it_ran(tmp_path: Path) -> None:
    run = config(phase={"draw": {"kind": "uniform", "most": 4}})
    whole = trained(tmp_path / "whole", run)
    folder, asked = RunFolder(tmp_path / "parts" / run.run_id), iter(range(1, 99))
    assert not train(run, folder, stop=lambda: next(asked) >= 3)
    assert train(run, folder)
    first, second = weights(whole), weights(folder)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert run.run_id != config().run_id and run.max_loops == 4
    result = whole.result()
    assert result is not None
    one = [cost(config(phase={"loops": n})).train_flops / STEPS for n in range(1, 5)]
    ran = sum(one[loops_of_step(LoopDraw(kind="uniform", most=4), 3, 0, s) - 1] for s in range(6))
    assert result["train_flops"] == pytest.approx(ran, rel=0.01)
    assert cost(run).train_flops == pytest.approx(sum(one) / 4 * STEPS, rel=1e-6)


def test_recomputing_trains_the_same_weights(tmp_path: Path) -> None:
    kept = weights(trained(tmp_path, config(objective={"kind": "entropy"})))
    again = config(objective={"kind": "entropy"}, training={"recompute": True})
    recomputed = weights(trained(tmp_path, again))
    assert all(torch.equal(kept[name], recomputed[name]) for name in kept)


def test_truncated_runs_differ_from_whole_ones(tmp_path: Path) -> None:
    model = {"injection": "add"}
    whole = weights(trained(tmp_path, config(model=model)))
    same = weights(trained(tmp_path, config(model=model, phase={"backprop_loops": 3})))
    cut = weights(trained(tmp_path, config(model=model, phase={"backprop_loops": 1})))
    assert all(torch.equal(whole[name], same[name]) for name in whole)
    assert not torch.equal(whole["core.0.mlp.up.weight"], cut["core.0.mlp.up.weight"])


def test_a_mixture_trains_with_its_balance_in_the_loss(tmp_path: Path) -> None:
    folder = trained(tmp_path, config(model={"mlp": "moe", "balance": 10.0}))
    lines = folder.metrics()
    assert all(line["loss"] > 10 * line["imbalance"] * 0.999 for line in lines)
    assert all(0.9 < line["imbalance"] <= 4 for line in lines)
    result = folder.result()
    assert result is not None
    # top-1 of four SwiGLU experts: three of 3·16·42 parameters are not used by a token
    assert result["parameters"]["total"] - result["active_parameters"] == 3 * 3 * 16 * 42


@pytest.mark.parametrize("objective", [{"kind": "last_loop"}, {"kind": "entropy"}])
def test_stage_two_moves_the_gate_of_another_run_alone(tmp_path: Path, objective: dict) -> None:
    first = trained(tmp_path, config(objective=objective))
    second = config(objective={"kind": "gate"}, start=first.run_id)
    folder = trained(tmp_path, second)
    before, after = weights(first), weights(folder)
    assert all(torch.equal(after[name], before[name]) for name in before if "gate" not in name)
    assert not torch.equal(after["gate.weight"], before.get("gate.weight", torch.zeros(1, 16)))
    assert after["gate.weight"].abs().max() > 0
    assert f"takes over the weights of {first.run_id}" in (folder.path / "log.txt").read_text()
    assert second.run_id != config(objective={"kind": "gate"}).run_id


def test_a_run_waits_for_the_one_that_it_starts_from(tmp_path: Path) -> None:
    first = config()
    second = config(objective={"kind": "gate"}, start=first.run_id)
    elsewhere = config(objective={"kind": "gate"}, start="m-1x1-0123456789ab")
    runs = (second, elsewhere, first)
    configs = {RunFolder(tmp_path / run.run_id): run for run in runs}
    waves = [[folder.run_id for folder in wave] for wave in waves_of(list(configs), configs)]
    assert waves == [[elsewhere.run_id, first.run_id], [second.run_id]]
    assert waves_of([], configs) == []


@pytest.mark.slow
def test_a_grid_runs_what_others_start_from_first(tmp_path: Path) -> None:
    """In the grid's order and by size the second would come first: its phase is longer."""
    first = config()
    second = config(objective={"kind": "gate"}, start=first.run_id, phase={"until_step": 20})
    points = tuple(GridPoint(run, run.run_id, "", {}) for run in (second, first))
    outcome = run_grid(Grid("two", "", (), points), tmp_path, workers=2, progress=False)
    assert outcome.failed == () and set(outcome.done) == {first.run_id, second.run_id}


def test_any_objective_can_start_from_another_run(tmp_path: Path) -> None:
    first = trained(tmp_path, config())
    again = config(start=first.run_id, training={"phases": [{"until_step": 1}], "lr": 1e-9})
    found, start = weights(trained(tmp_path, again)), weights(first)
    assert all(torch.allclose(found[name], start[name], atol=1e-5) for name in start)


def test_a_start_that_is_not_done_or_of_another_shape_says_so(tmp_path: Path) -> None:
    gone = config(start="multihop-1x3-0123456789ab")
    with pytest.raises(LoopscopeError, match="0123456789ab has no result"):
        train(gone, RunFolder(tmp_path / gone.run_id))
    first = trained(tmp_path, config())
    wider = config(start=first.run_id, model={"width": 32})
    with pytest.raises(LoopscopeError, match=r"another shape: core\.0.*differ"):
        train(wider, RunFolder(tmp_path / wider.run_id))


def test_a_halting_model_is_loaded_as_one(tmp_path: Path) -> None:
    folder = trained(tmp_path, config(objective={"kind": "act", "epsilon": 0.05}))
    model, _ = load_model(tmp_path, folder.run_id)
    assert model.halting == 0.05
    assert "ponder" in folder.metrics()[-1]


@pytest.mark.parametrize(
    ("changes", "where", "says"),
    [
        ({"objective": {"kind": "gate"}}, "objective", "gate .* `start` has to name"),
        (
            {"objective": {"kind": "gate"}, "start": "m-1x1-0123456789ab", "model": {"loops": 1}},
            "objective",
            "gate compares loops; model.loops is 1",
        ),
        (
            {"objective": {"kind": "entropy"}, "model": {"reuse": "sequence"}},
            "objective",
            "entropy weighs .* model.reuse sequence",
        ),
        (
            {"phase": {"backprop_loops": 1}},
            "training.phases.0.backprop_loops",
            "model.injection none, 1 of 3 loops",
        ),
        (
            {"phase": {"backprop_loops": 1}, "model": {"injection": "once"}},
            "training.phases.0.backprop_loops",
            "model.injection once, 1 of 3 loops",
        ),
        (
            {"phase": {"backprop_loops": 1}, "model": {"reuse": "sequence"}},
            "training.phases.0.backprop_loops",
            "model.reuse is sequence",
        ),
        (
            {"phase": {"loops": 4}, "model": {"loop_embedding": "learned"}},
            "training.phases.0",
            "up to 4 loops, but model.loop_embedding learned has 3 model.loop_rows",
        ),
    ],
)
def test_impossible_runs_name_both_settings(changes: dict, where: str, says: str) -> None:
    found = [(".".join(at), message) for at, message in problems(config(**changes))]
    assert len(found) == 1 and found[0][0] == where
    assert re.search(says, found[0][1]), found
    assert not list(problems(config()))


def test_a_draw_needs_room() -> None:
    with pytest.raises(ValueError, match="least 5 is more than most 4"):
        LoopDraw(kind="uniform", least=5, most=4)


def test_loops_are_drawn_from_a_stream_of_their_own() -> None:
    """Uniform by hand from numpy's generator of (seed, 5, step); that of documents is (…, 3, …)."""
    draw = LoopDraw(kind="uniform", least=2, most=9)
    for seed in (0, 7):
        own, documents = (
            [2 + int(8 * np.random.default_rng([seed, n, step]).random()) for step in range(60)]
            for n in (5, 3)
        )
        assert [loops_of_step(draw, 4, seed, step) for step in range(60)] == own != documents
