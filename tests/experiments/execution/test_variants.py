"""Every variant goes through a grid: plan, training, probes inside the loops, table, report."""

import re
from pathlib import Path

import pytest
import yaml
from command import command
from variant_shapes import FIELDS

import experiments
from experiments.config.costs import cost
from experiments.execution.runner import run_grid
from experiments.execution.stack_planner import reason_not_stackable
from experiments.grid.grid import load_grid
from experiments.grid.run_checks import problems
from experiments.results.long_table import load_runs
from experiments.runs.folder import RunFolder

PAGE = Path(experiments.__file__).parent / "VARIANTS.md"
GRID = {
    "title": "every variant",
    "baseline": {
        "task": {"kind": "multihop", "entities": 8, "relations": 4, "hops": 2},
        "model": {"width": 8, "heads": 1, "core": 1, "loops": 2},
        "objective": {"kind": "entropy"},
        "training": {"batch": 8, "phases": [{"until_step": 3}]},
        "observe": {"probes": [{"kind": "accuracy", "items": 16}]},
    },
    "axes": {
        "arm": [
            {"name": kind, "model.kind": kind, **{f"model.{k}": v for k, v in fields.items()}}
            for kind, fields in FIELDS.items()
        ]
        + [{"name": "own", "model.kind": "halving.py:Halving"}]
    },
}
#: decodes with a cache under an exit, and looks into every block
PROBES = ("{kind: lens, items: 16, blocks: true}", "{kind: exits, items: 16}")


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    (code,) = re.findall(r"^```python\n# halving.py\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    (tmp_path / "halving.py").write_text(code)
    path = tmp_path / "variants.yaml"
    path.write_text(yaml.safe_dump(GRID))
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("work_here")
def test_the_command_plans_runs_probes_and_reports_them(
    grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, loaded = tmp_path / "runs", load_grid(grid)
    assert command(monkeypatch, "plan", grid, "--out", out, "--wide") == 0
    told = capsys.readouterr().out
    assert all(part in told for part in ("film 128", "channel 17", "memory 24", "streams 15"))
    outcome = run_grid(loaded, out, workers=1)
    assert sorted(outcome.done) == sorted(loaded.runs)
    for run_id, config in loaded.runs.items():
        result = RunFolder(out / run_id).result()
        assert result is not None
        assert result["train_flops"] == pytest.approx(cost(config).train_flops, rel=0.1)
        parameters = config.model.count_parameters(result["vocabulary"], gate=True)
        assert result["parameters"] == parameters
    for probe in PROBES:
        assert command(monkeypatch, "probe", out, "--probe", probe) == 0
    found = load_runs(out)
    for metric in ("accuracy", "lens_accuracy", "exit_accuracy"):
        assert set(found[found["metric"] == metric]["run_id"]) == set(loaded.runs), metric
    assert command(monkeypatch, "report", out) == 0


def test_what_a_variant_cannot_do_is_told_before_it_begins(grid: Path) -> None:
    for config in load_grid(grid).runs.values():
        kind = config.model.kind
        assert reason_not_stackable(config) == ""
        observe = config.observe.model_copy(update={"compile_blocks": "anywhere"})
        found = dict(problems(config.model_copy(update={"observe": observe})))
        message = found.get(("observe", "compile_blocks"), "")
        if kind in ("film", "lora", "halving"):
            assert message.startswith(f"anywhere with model kind {kind}: ")
        else:
            assert not message
        refuses = {"refuses": {"stack": "the reason"}}
        alone = type("Alone", (type(config.model),), refuses)(**config.model.model_dump())
        alone = config.model_copy(update={"model": alone})
        assert reason_not_stackable(alone) == f"model {kind}: the reason"


def test_the_page_names_every_variant() -> None:
    assert all(f"`kind: {kind}`" in PAGE.read_text() for kind in FIELDS)


def test_a_variant_that_no_machine_can_hold_is_refused_as_the_plain_model_is(
    grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOPSCOPE_MEMORY", "8G")
    for config in load_grid(grid).runs.values():
        huge = config.model.model_copy(update={"width": 100_000})
        found = dict(problems(config.model_copy(update={"model": huge})))
        assert found[("model",)].startswith("training the layers of the model needs"), huge.kind
