"""Times, memory and bounds that `plan` tells, against independent computations."""

import itertools
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.config.costs import Work, cost, cost_and_work
from experiments.config.memory import run_memory
from experiments.config.phases import spans
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.execution.runner import run_grid
from experiments.grid.grid import load_grid
from experiments.machine import device_name
from experiments.planning import calibration
from experiments.planning.calibration import TimeModel, cache_path, fit, load_calibration
from experiments.planning.estimate import Estimator, Finished, disk_bytes
from experiments.planning.makespan import makespan
from experiments.planning.plan import as_text, of_shard, plan, side_by_side, totals
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import write_json
from experiments.text import duration
from experiments.training.train import train
from generators.streams import Stream, generator

REFERENCE = Path(__file__).parents[3] / "experiments" / "reference" / "quick"


def config(loops: int = 1, steps: int = 10, **model: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "task": {"kind": "multihop"},
            "model": {"kind": "looped", "width": 32, "heads": 1, "loops": loops, **model},
            "training": {"batch": 32, "phases": [{"until_step": steps}]},
        }
    )


def mixture(*phases: dict[str, Any]) -> RunConfig:
    """Short documents and long ones, in the shares of each phase."""
    components = {
        "long": {"task": {"kind": "bios", "people": 40}},
        "short": {"task": {"kind": "multihop", "entities": 8, "relations": 4, "hops": 2}},
    }
    return RunConfig.model_validate(
        {
            "task": {"kind": "mixture", "components": components},
            "model": {"kind": "looped", "width": 32, "heads": 1},
            "training": {"batch": 32, "phases": phases},
        }
    )


def tokens_drawn(config: RunConfig) -> int:
    """Those of every document that training draws, counted one batch after the other."""
    task, total = config.bound_task(), 0
    for span in spans(config.training, task):
        step, first = span.first_step, span.first_document
        while first < span.last_document:
            n = min(config.training.batch, span.last_document - first)
            rng = generator(config.seed, Stream.TRAIN, step)
            total += int((task.sample(rng, n, index=first).tokens != 0).sum())
            step, first = step + 1, first + n
    return total


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_work_is_linear_in_steps_and_its_core_in_loops() -> None:
    one, twice = (np.array(cost_and_work(config(1, n))[1].counts) for n in (10, 20))
    assert np.allclose(twice, 2 * one)
    a, b, c = (np.array(cost_and_work(config(n))[1].counts) for n in (1, 2, 3))
    assert np.allclose(c - b, b - a)
    steps, calls, flops, values, updates = b - a
    assert steps == updates == 0
    assert calls == 10 and flops > 0 and values > 0


def test_tokens_and_work_are_those_of_the_weights_of_each_phase() -> None:
    long, short = {"long": 1.0, "short": 0.0}, {"long": 0.0, "short": 1.0}
    even = mixture({"until_step": 20})
    runs = [
        even,
        mixture({"until_step": 20, "weights": long}),
        mixture({"until_step": 20, "weights": short}),
        mixture({"until_step": 5, "weights": long}, {"until_step": 20, "weights": short}),
        mixture({"until_step": 15, "weights": long}, {"until_step": 20}),
    ]
    for run in runs:
        assert cost(run).tokens == pytest.approx(tokens_drawn(run), rel=0.05)
    flops = [cost_and_work(run)[1].flops for run in runs]
    # a phase costs what the whole run would, in proportion to its steps
    assert flops[3] == pytest.approx(0.25 * flops[1] + 0.75 * flops[2], rel=1e-3)
    assert flops[4] == pytest.approx(0.75 * flops[1] + 0.25 * flops[0], rel=1e-3)
    assert flops[1] > 3 * flops[2], "and short documents cost much less than long ones"


def test_a_fit_finds_planted_coefficients() -> None:
    rng = np.random.default_rng([1, 1, 1])
    planted = np.array([1e-3, 5e-4, 1e-11, 9e-10, 0.0])
    rows = 10 ** rng.uniform([0, 0, 6, 4, 3], [1, 2, 10, 7, 6], (20, 5))
    model = fit([(Work(*row), float(row @ planted)) for row in rows])
    assert np.allclose(model.coefficients, planted, rtol=1e-6, atol=1e-16)
    assert model.worst == pytest.approx(1)
    assert fit([(Work(*row), float(row @ planted) * 2) for row in rows[:1]]).worst < 1.01


def test_runs_on_this_device_correct_the_calibration() -> None:
    model = TimeModel((0.1, 0, 0, 0, 0))
    work = Work(steps=10, flops=1e9)
    assert Estimator("cpu").seconds(config(), work) is None
    assert Estimator("cpu", {"fp32": model}).seconds(config(), work) == pytest.approx(1)
    slow = [Finished("multihop", work, s) for s in (2.0, 3.0, 50.0)]
    other = Finished("bios", work, 1000.0)
    found = Estimator("cpu", {"fp32": model}, (*slow, other))
    assert found.seconds(config(), work) == pytest.approx(3)
    assert found.calibrated(config(), work) == pytest.approx(1)
    without = Estimator("cpu", {}, (Finished("multihop", Work(flops=5e8), 2.0),))
    assert without.seconds(config(), work) == pytest.approx(4)


def test_starting_and_drawing_count_once_however_many_runs(cache: Path, tmp_path: Path) -> None:
    planned = [replace(p, seconds=2.0) for p in plan(load_grid("quick"), tmp_path)]
    without = totals(planned, 3)["seconds_with_workers"][3]
    slow = [replace(p, overhead=5.0) for p in planned]
    assert without == 4 and totals(slow, 3)["seconds_with_workers"][3] == 9
    assert totals([replace(p, status="done") for p in slow], 3)["seconds_with_workers"] == {}
    model = TimeModel((0.1, 0, 0, 0, 0), overhead=4.0)
    assert Estimator("cpu", {"fp32": model}).overhead(config()) == 4.0
    assert Estimator("cpu").overhead(config()) == 0.0


def test_a_calibration_is_of_its_device_and_version(cache: Path) -> None:
    assert load_calibration("cpu") is None
    path = cache_path("cpu")
    path.parent.mkdir(parents=True)
    measured = {"coefficients": [1, 0, 0, 0, 0], "worst": 1.1, "torch": "2"}
    known = {"schema_version": 1, "device": device_name("cpu"), "precision": {"fp32": measured}}
    write_json(path, known)
    found = load_calibration("cpu")
    assert found is not None and found.coefficients == (1, 0, 0, 0, 0)
    assert load_calibration("cpu", "bf16") is None
    for wrong in ({"device": "cpu other"}, {"schema_version": 2}, {"precision": 3}):
        write_json(path, known | wrong)
        assert load_calibration("cpu") is None
    numbers = ([0] * 5, [float("nan")] * 5, [1e308] * 5, [1, -1, 0, 0, 0])
    for wrong in (*({"coefficients": c} for c in numbers), {"worst": -1}, {"worst": "1e999"}):
        write_json(path, known | {"precision": {"fp32": measured | wrong}})
        assert load_calibration("cpu") is None, wrong
    for text in ("{", "[" * 100_000):
        path.write_text(text)
        assert load_calibration("cpu") is None
    path.unlink()
    path.mkdir()
    assert load_calibration("cpu") is None


@pytest.mark.slow
def test_calibrating_measures_real_steps(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SHAPES", calibration.SHAPES[:2])
    monkeypatch.setattr(calibration, "SECONDS", 0.0)
    lines = list(calibration.calibrate())
    assert len(lines) == 4 and str(cache_path("cpu")) in lines[-1]
    model = load_calibration("cpu")
    assert model is not None
    alone = "import time, experiments.training.train, pandas; print(time.process_time())"
    found = subprocess.run([sys.executable, "-c", alone], capture_output=True, check=True)
    assert 0.6 < model.overhead / float(found.stdout) < 6, "two processes and what draws"
    (sample, _) = json.loads(cache_path("cpu").read_text())["precision"]["fp32"]["samples"]
    assert model.seconds(Work(*sample[:-1])) == pytest.approx(sample[-1], rel=0.5)


def test_the_makespan_is_that_of_a_simulation() -> None:
    seconds = {"a": 5.0, "b": 4.0, "c": 3.0, "d": 3.0, "e": 2.0}
    nothing: dict[str, str | None] = {}
    assert makespan(seconds, nothing, 1) == 17
    assert makespan(seconds, nothing, 5) == makespan(seconds, nothing, 9) == 5
    best = min(
        max(sum(s for s, w in zip(seconds.values(), where, strict=True) if w == k) for k in (0, 1))
        for where in itertools.product((0, 1), repeat=5)
    )
    assert best <= makespan(seconds, nothing, 2) <= 4 / 3 * best  # Graham's bound
    assert makespan(seconds, {"b": "a", "c": "absent"}, 5) == 5 + 4


def test_shares_are_those_of_the_runner(tmp_path: Path, cache: Path) -> None:
    from experiments.execution.order import unique_runs

    for name, i in itertools.product(("quick", "exits"), (1, 2)):
        grid = load_grid(name)
        planned = plan(grid, tmp_path)
        folders, _ = unique_runs(grid, tmp_path, (i, 2))
        mine = dict.fromkeys(p.run_id for p in of_shard(planned, (i, 2)))
        assert list(mine) == [f.run_id for f in folders]


def test_shares_side_by_side_end_with_the_slowest(tmp_path: Path, cache: Path) -> None:
    planned = plan(load_grid("quick"), tmp_path)
    assert side_by_side(planned, 2) == {}, "no times without a calibration"
    names = list(dict.fromkeys(p.run_id for p in planned))
    seconds = {name: float(2**i) for i, name in enumerate(names)}
    timed = [replace(p, seconds=seconds[p.run_id]) for p in planned]
    shares = [[seconds[n] for n in names[i::3]] for i in range(3)]
    sums = [sum(share) for share in shares]
    assert side_by_side(timed, 3, workers=1) == {1: (max(sums), sums.index(max(sums)) + 1)}
    assert side_by_side(timed, 10**6, workers=1) == {1: (max(seconds.values()), len(names))}
    grid, found = load_grid("quick"), side_by_side(timed, 3, workers=1)
    text = as_text(grid, of_shard(timed, (1, 3)), 1, found)
    assert f"still to do: 1 worker {duration(sums[0])}" in text
    assert f"all shares side by side: 1 worker each {duration(max(sums))}" in text
    assert "side by side" not in as_text(grid, timed, 1)
    done = [replace(p, status="done") for p in timed]
    assert side_by_side(done, 3) == {}


@pytest.mark.parametrize("name", ["quick", "capacity", "headline", "exits"])
def test_a_plan_fits_80_columns_with_its_exposures(name: str, cache: Path, tmp_path: Path) -> None:
    grid = load_grid(name)
    planned = plan(grid, tmp_path)
    lines = as_text(grid, planned, width=80).split("\n\n")[1].splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) == 1 + len(planned)
    shown = any(config.training.phases[-1].until_exposure for config in grid.runs.values())
    assert ("exposures" in lines[0]) == shown
    assert "More columns with --wide: by part" in as_text(grid, planned, width=80)
    assert "by part" in as_text(grid, planned).splitlines()[2], "all where there is room"
    if name == "quick":
        at = lines[0].index("exposures")
        assert [line[at : at + 9].strip() for line in lines[1:]] == ["800"] * 3 + [""] * 3


def test_before_any_calibration_an_estimate_is_called_rough(cache: Path, tmp_path: Path) -> None:
    grid = load_grid("quick")
    planned = plan(grid, tmp_path)
    total = totals(planned)
    assert total["seconds_left"] is None, "nothing for programs to rely on"
    rough = duration(total["rough_seconds_left"])
    assert f"roughly {rough} of one core" in as_text(grid, planned)
    timed = [replace(p, seconds=1.0) for p in planned]
    assert "roughly" not in as_text(grid, timed)


def test_run_refuses_what_plan_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    grid = load_grid("quick")
    needed = max(map(run_memory, grid.runs.values()))
    monkeypatch.setenv("LOOPSCOPE_MEMORY", str(needed - 1))
    messages = []
    for refused in (lambda: plan(grid, tmp_path), lambda: run_grid(grid, tmp_path, progress=False)):
        with pytest.raises(LoopscopeError, match="needs about .* of memory") as error:
            refused()
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert not list(tmp_path.glob("*/config.json")), "before any work"
    monkeypatch.setenv("LOOPSCOPE_MEMORY", str(needed))
    plan(grid, tmp_path)


def test_estimates_stand_beside_what_was_measured(cache: Path) -> None:
    found = plan(load_grid("quick"), REFERENCE)
    total = totals(found)
    assert total["status"] == {"done": 6} and total["seconds_left"] == 0
    assert total["estimated_over_measured"] is None  # no calibration, so nothing independent
    for point in found:  # of another processor there is no measured time to show
        assert point.measured is None or point.measured > 10


def test_planning_takes_little_processor_time(cache: Path, tmp_path: Path) -> None:
    plan(load_grid("quick"), tmp_path)
    start = time.process_time()
    plan(load_grid("quick"), tmp_path)
    assert time.process_time() - start < 0.4


def test_many_large_worlds_are_planned_at_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many worlds there are, one of a kind is looked at, also for what probes read."""
    monkeypatch.setenv("LOOPSCOPE_MEMORY", "80G")
    people = list(range(1_000_000, 41_000_000, 200_000))
    grid = tmp_path / "worlds.yaml"
    grid.write_text(
        "baseline:\n"
        "  task: {kind: extraction, biographies: {pools: full}}\n"
        "  model: {width: 16, heads: 1}\n"
        "  training: {batch: 64, phases: [{until_step: 5}]}\n"
        "  observe: {evaluate_every: 2}\n"
        f"axes: {{task.biographies.people: {people}}}\n"
    )
    start = time.process_time()
    planned = plan(load_grid(grid), tmp_path / "out")
    assert len(planned) == len(people) == 200
    assert time.process_time() - start < 2.5


@pytest.mark.parametrize("width", [32, 128])
def test_the_disk_told_is_that_of_a_finished_folder(tmp_path: Path, width: int) -> None:
    run = config(steps=20, width=width)
    assert train(run, RunFolder(tmp_path / run.run_id))
    told, folder = disk_bytes(run, cost(run)), tmp_path / run.run_id
    measured = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert 0.85 < told / measured < 1.15
