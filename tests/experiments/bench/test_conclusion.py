"""The ways to a conclusion train the same; what they cost is counted, not how fast they are."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from experiments.bench import conclusion
from experiments.bench.conclusion import ArmCost, arms_of, compare, prepared, usable_ways
from experiments.bench.plain_runs import (
    Answers,
    PlainRun,
    answers_of,
    train_by_trainer,
    train_plainly,
)
from experiments.bench.together import train_together
from experiments.cli.main import app
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.grid import load_grid
from experiments.measuring.load import load_model
from experiments.runs.output import prepare_output

STEPS = 12


def run(**changes: Any) -> RunConfig:
    fields: dict[str, Any] = {
        "task": {"kind": "multihop", "world": "permutation", "entities": 8, "relations": 4},
        "model": {"width": 16, "heads": 2, "loops": 2, "tied": True, "injection": "add"},
        "training": {
            "batch": 16,
            "lr": 8e-3,
            "weight_decay": 0.1,
            "phases": [
                {"until_step": 5, "warmup": 3, "weights": {"1": 1}},
                {"until_step": STEPS, "decay": "sqrt"},
            ],
        },
    }
    return RunConfig.model_validate(fields | changes)


def test_a_plain_loop_ends_with_the_weights_of_our_run(tmp_path: Path) -> None:
    """Dense against sparse reading, split against joint matrices, one run against two at once."""
    configs = [prepared(run(), seed, 4) for seed in (0, 1)]
    prepare_output(tmp_path)
    train_together({tmp_path / c.run_id: c for c in configs}, "cpu", threads=1)
    for config in configs:
        ours, _ = load_model(tmp_path, config.run_id)
        theirs = PlainRun(config)
        begun = [p.detach().clone() for p in theirs.model.parameters()]
        answers = answers_of(train_plainly(theirs))
        wanted = PlainRun(config)
        wanted.model.copy_weights(ours)
        pairs = zip(theirs.model.parameters(), wanted.model.parameters(), begun, strict=True)
        for mine, own, first in pairs:
            torch.testing.assert_close(mine, own, rtol=1e-3, atol=1e-3)
            assert float((mine - first).detach().abs().max()) > 5e-3, "they have been trained"
        assert answers == pytest.approx(answers_of(wanted.finish())) and set(answers) == {2, 3}


def test_the_trainer_takes_the_same_steps() -> None:
    pytest.importorskip("transformers", reason="needs transformers")
    pytest.importorskip("accelerate", reason="needs accelerate")
    plainly, trainer = PlainRun(prepared(run(), 0, 4)), PlainRun(prepared(run(), 0, 4))
    found, other = answers_of(train_plainly(plainly)), answers_of(train_by_trainer(trainer))
    assert found == pytest.approx(other) and set(found) == {2, 3}
    assert [look["step"] for look in plainly.looks] == [look["step"] for look in trainer.looks]
    for one, other in zip(plainly.model.parameters(), trainer.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_every_way_asks_at_the_same_steps() -> None:
    asked = PlainRun(prepared(run(), 0, 5))
    train_plainly(asked)
    assert [look["step"] for look in asked.looks] == [5, 10, STEPS]
    spent = [look["cpu_seconds"] for look in asked.looks]
    assert 0 < spent[0] < spent[1] < spent[2] < asked.spent()


def test_the_ways_take_turns_and_their_time_is_that_of_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, calls = 0.0, list[str]()

    def way(name: str, seconds: float) -> Any:
        def train(configs: list[RunConfig]) -> list[Answers]:
            nonlocal now
            now += seconds * len(configs)
            calls.append(f"{name} {configs[0].training.phases[-1].until_step}")
            return [{2: 1.0, 3: 0.25 * n} for n, _ in enumerate(configs)]

        return train

    monkeypatch.setattr(time, "process_time", lambda: now)
    monkeypatch.setitem(conclusion.WAYS, "loopscope", way("loopscope", 2.0))
    monkeypatch.setitem(conclusion.WAYS, "plain", way("plain", 7.0))
    pair = [run(), run(seed=1)]
    one, two = compare({"a": pair, "b": pair[:1]}, ["plain"])
    warm, timed = ["loopscope 2", "plain 2"], [f"loopscope {STEPS}", f"plain {STEPS}"]
    assert calls == [*warm, *timed, *timed], "what imports take counts for none of them"
    assert one.seconds == {"loopscope": 4.0, "plain": 14.0}
    assert list(one.rows()) == [
        ("a", "2", "2", "1.000 ± 0.000", "1.000 ± 0.000"),
        ("a", "3", "2", "0.125 ± 0.177", "0.125 ± 0.177"),
        ("a", "processor time", "2", "4 s, x 1.00", "14 s, x 3.50"),
    ]
    assert [row[3] for row in two.rows()] == ["1.000", "0.000", "2 s, x 1.00"]
    assert isinstance(two, ArmCost)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model": {"width": 16, "prelude": 1}}, "blocks of the default kind"),
        ({"model": {"width": 16, "residual_scale": 1.0}}, "blocks of the default kind"),
        ({"objective": {"kind": "entropy"}, "model": {"loops": 2}}, "last loop alone"),
        ({"training": {"optimiser": "muon", "phases": [{"until_step": 4}]}}, "AdamW in fp32"),
        ({"training": {"ema": 0.9, "phases": [{"until_step": 4}]}}, "no average"),
        (
            {"training": {"phases": [{"until_step": 4, "draw": {"kind": "uniform", "most": 2}}]}},
            "knows phases with decay",
        ),
        ({"task": {"kind": "biod", "people": 20}}, "is asked questions"),
    ],
)
def test_what_a_plain_loop_lacks_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(LoopscopeError, match=why):
        prepared(run(**changes), 0, 4)


def test_arms_and_ways_that_there_are() -> None:
    grid = load_grid("quick")
    arms = arms_of(grid, "hops", 3, 50)
    assert list(arms) == ["1⊗1, loops 1", "1⊗2, loops 2", "1⊗6, loops 6"]
    assert [c.seed for c in arms["1⊗2, loops 2"]] == [0, 1, 2]
    with pytest.raises(LoopscopeError, match="no part 'hop'; it has capacity, hops"):
        arms_of(grid, "hop", 3, 50)
    with pytest.raises(LoopscopeError, match="there is no way 'jax'; there are plain, trainer"):
        usable_ways(["jax"])
    assert usable_ways(["plain"]) == ("plain",)


def test_the_trainer_needs_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conclusion, "find_spec", lambda name: None)
    assert usable_ways(None) == ("plain",)
    with pytest.raises(LoopscopeError, match="pip install transformers accelerate"):
        usable_ways(["trainer"])
    monkeypatch.setattr(conclusion, "find_spec", lambda name: object())
    assert usable_ways(None) == ("plain", "trainer")


def test_command(tmp_path: Path) -> None:
    file, told = tmp_path / "costs.json", ["bench", "conclusion", "quick", "--way", "plain"]
    told += ["--seeds", "1", "--every", "3", "--json", str(file), "--set", "model.loops=1"]
    told += ["--set", "training.phases=[{until_step: 4}]", "--set", "training.batch=8"]
    result = CliRunner().invoke(app, told)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[1].split() == ["arm", "questions", "seeds", "loopscope", "plain"]
    assert "processor time" in lines[-1] and lines[-1].count("x ") == 2
    (arm,) = json.loads(file.read_text())["arms"]
    assert arm["seconds"].keys() == arm["answers"].keys() == {"loopscope", "plain"}
    assert all(seconds > 0 for seconds in arm["seconds"].values())
