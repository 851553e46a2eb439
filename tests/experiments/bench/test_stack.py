"""What the benchmark of stacked runs says of times and tokens; speeds are not tested."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from experiments.bench import stack as bench_stack
from experiments.bench.stack import HEAD, endless, measure, standard_shapes
from experiments.cli.main import app
from experiments.config.phases import Phase, Training
from experiments.config.run import RunConfig
from experiments.execution.stack_planner import reason_not_stackable, stack_key
from generators.biographies import Biographies
from generators.multihop import MultiHop
from generators.streams import Stream, generator
from models.config import LoopedConfig

RUNS = 3


def config(seed: int = 0, **changes: Any) -> RunConfig:
    phases = (Phase(until_step=2, loops=1), Phase(until_step=4))
    fields: dict[str, Any] = {
        "task": MultiHop(entities=8, relations=4, hops=3),
        "model": LoopedConfig(width=8, heads=1, loops=2),
        "training": Training(batch=16, phases=phases),
        "seed": seed,
    }
    return RunConfig.model_validate(fields | changes)


def tokens_of(seed: int, step: int) -> int:
    """Of a batch, from the task alone."""
    batch = config().task.bind(seed).sample(generator(seed, Stream.TRAIN, step), 16)
    return int((batch.tokens != 0).sum())


def test_all_runs_take_a_step_in_either_way_and_every_token_counts() -> None:
    ways = bench_stack._ways(config(seed=5), RUNS, "cpu")
    assert list(ways) == ["alone", "stacked"]
    for turn in range(3):  # beyond the end of the run itself
        own = sum(tokens_of(5 + r, turn) for r in range(RUNS))
        assert ways["stacked"]() == own
        assert ways["alone"]() == sum(tokens_of(5, RUNS * turn + i) for i in range(RUNS))


def test_medians_and_ratios_of_a_known_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    seconds = {"alone": [99, 99, 4, 4, 8, 4, 40], "stacked": [999, 1, 1, 2, 1, 1, 8]}

    def way(name: str, tokens: int) -> Callable[[], int]:
        times = iter(seconds[name])

        def step() -> int:
            nonlocal now
            now += next(times)
            return tokens

        return step

    monkeypatch.setattr(bench_stack, "Clock", lambda device: lambda: now)
    monkeypatch.setattr(
        bench_stack,
        "_ways",
        lambda *given: {"alone": way("alone", 80), "stacked": way("stacked", 60)},
    )
    speed = measure("toy", config(), RUNS, device="cpu", seconds=1e-9)
    # of the last five rounds 80 / (4, 4, 8, 4, 40) and 60 / (1, 2, 1, 1, 8)
    assert speed.tokens_per_second == {"alone": 20, "stacked": 60}
    # 60/20, 30/20, 60/10, 60/20, 7.5/2
    assert speed.ratios == {"stacked": 3} and speed.rounds == 5
    assert speed.row() == ("toy", "fp32", "3", "5", "0.0", "0.1", "3.00", *[""] * (len(HEAD) - 7))


def test_real_numbers_agree_with_each_other() -> None:
    speed = measure("toy", config(), RUNS, device="cpu", seconds=0.01)
    assert speed.runs == RUNS and speed.rounds >= 5
    assert set(speed.tokens_per_second) == {"alone", "stacked"}
    assert all(rate > 0 for rate in speed.tokens_per_second.values())
    assert set(speed.ratios) == {"stacked"} and speed.ratios["stacked"] > 0


def test_only_the_first_phase_is_measured_and_it_has_no_end() -> None:
    one = endless(config(), "never")
    assert [(p.until_step, p.loops) for p in one.training.phases] == [(10**6, 1)]
    people = Training(batch=8, phases=(Phase(until_exposure=1),))
    bios = endless(config(task=Biographies(people=9), training=people), "never")
    (phase,) = RunConfig.model_validate(bios.model_dump()).training.phases
    assert (phase.until_step, phase.until_exposure) == (10**6, None)


def test_standard_shapes_can_be_stacked_and_differ_only_in_the_batch() -> None:
    found = standard_shapes(64, "bf16")
    assert [run.training.batch for run in found.values()] == [32, 128, 1024]
    assert len({stack_key(run) for run in found.values()}) == 3
    for run in found.values():
        assert not reason_not_stackable(run)
        assert (run.model.layers, run.model.loops) == (1, 4)
        assert (run.model.width, run.training.precision) == (64, "bf16")


def test_command(tmp_path: Path) -> None:
    grid, file = tmp_path / "grid.yaml", tmp_path / "speed.json"
    grid.write_text(
        "name: mixed\n"
        "baseline:\n"
        "  task: {kind: multihop, entities: 8, relations: 4, hops: 2}\n"
        "  model: {width: 8, heads: 2, loops: 2}\n"
        "  training: {batch: 16, phases: [{until_step: 4}]}\n"
        "axes:\n"
        "  seed: [0, 1]\n"
        "  arm:\n"
        "    - {name: dense}\n"
        "    - {name: experts, model.mlp: moe, model.width: 16}\n"
    )
    arguments = ["bench", "stack", "--shapes", str(grid), "--seconds", "0.01"]
    arguments += ["--stack", "2", "--stack", "3", "--json", str(file)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "x alone" in lines[1] and "compiled" not in lines[1]
    assert len(lines) == 5 and lines[4].startswith("multihop 1⊗2, width 16, batch 16: not stacked")
    assert "experts" in lines[4]
    written = json.loads(file.read_text())
    assert [shape["runs"] for shape in written["shapes"]] == [2, 3]
    assert list(written["not_stacked"]) == ["multihop 1⊗2, width 16, batch 16"]
    for line, shape in zip(lines[2:4], written["shapes"], strict=True):
        assert line.split()[-1] == f"{shape['ratios']['stacked']:.2f}"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--stack", "1"], "than or equal to 2"),
        (["--device", "gpu"], "needs cpu, cuda"),
        (["--device", "cuda:x"], "needs cpu, cuda"),
    ],
)
def test_what_cannot_be_measured_is_refused(wrong: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["bench", "stack", "--shapes", "8", *wrong])
    assert result.exit_code == 2 and message in result.output
