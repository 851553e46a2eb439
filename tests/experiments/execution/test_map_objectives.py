"""Objectives between loops go through a grid, and a stopped run of them is the same run."""

from pathlib import Path

import pytest
import yaml
from command import command
from toys import assert_same_run, config, trained

from experiments.config.costs import cost
from experiments.execution.runner import run_grid
from experiments.execution.stack_planner import reason_not_stackable
from experiments.grid.grid import load_grid
from experiments.results.long_table import load_runs
from experiments.runs.folder import RunFolder
from models.objectives.jacobian import Jacobian

KINDS = ("fixed_point", "jacobian", "shortcut", "self_distillation")
GRID = {
    "title": "objectives between loops",
    "baseline": {
        "task": {"kind": "multihop", "entities": 8, "relations": 4, "hops": 2},
        "model": {"width": 8, "heads": 1, "loops": 2, "injection": "diagonal"},
        "training": {"batch": 8, "precision": "bf16", "phases": [{"until_step": 3}]},
        "observe": {"log_every": 1, "probes": [{"kind": "accuracy", "items": 16}]},
    },
    "axes": {"objective.kind": list(KINDS)},
}


@pytest.mark.usefixtures("work_here")
def test_they_are_planned_trained_probed_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "maps.yaml", tmp_path / "runs"
    path.write_text(yaml.safe_dump(GRID))
    loaded = load_grid(path)
    assert command(monkeypatch, "plan", path, "--out", out) == 0
    outcome = run_grid(loaded, out, workers=1)
    assert sorted(outcome.done) == sorted(loaded.runs)
    for run_id, one in loaded.runs.items():
        folder = RunFolder(out / run_id)
        result = folder.result()
        assert result is not None
        assert result["train_flops"] == pytest.approx(cost(one).train_flops, rel=0.1)
        kind = one.objective.kind
        name = "divergence" if kind == "self_distillation" else f"{kind}_penalty"
        assert all(line[name] > 0 for line in folder.metrics())
        alone = reason_not_stackable(one)
        assert alone == (
            ""
            if kind == "self_distillation"
            else f"objective {kind} does not say what each position loses"
        )
    assert command(monkeypatch, "probe", out, "--probe", "{kind: lens, items: 16}") == 0
    assert set(load_runs(out)["objective"]) == set(KINDS)
    assert command(monkeypatch, "report", out) == 0


def test_random_directions_are_those_of_the_step(tmp_path: Path) -> None:
    run = config(objective=Jacobian())
    assert_same_run(trained(tmp_path / "a", run), trained(tmp_path / "b", run, 2, 3))
