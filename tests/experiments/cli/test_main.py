"""The command: exit statuses, messages without tracebacks, nothing half-made, nothing imported."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command import TOY, command

from experiments.analysis.verdicts.claims import HYPOTHESES
from experiments.cli import main as cli
from experiments.cli.compare import NAMES
from experiments.config.costs import cost
from experiments.execution.backends.options import LocalOptions
from experiments.grid.grid import load_grid
from experiments.planning.plan import plan, totals


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(TOY)
    return path


# --- what is imported ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["plan", "quick"], ["plan", "quick", "--json"], ["sample", "bios"]],
    ids=lambda a: " ".join(a),
)
def test_light_commands_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = f"""
import sys
from experiments.cli import main as cli
sys.argv = ["loopscope", *{arguments!r}]
try:
    cli.main()
except SystemExit as exit:
    assert not exit.code, exit.code
heavy = {{"torch", "pandas", "seaborn", "matplotlib", "sklearn", "pyarrow"}} & set(sys.modules)
assert not heavy, heavy
"""
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert list(tmp_path.iterdir()) == []


# --- help ------------------------------------------------------------------------------------


def test_help_has_every_command_in_the_order_of_use(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "--help") == 0
    text = capfd.readouterr().out
    names = [name for panel in cli.PANELS.values() for name in panel]
    places = [text.index(f" {panel} ") for panel in cli.PANELS]
    assert places == sorted(places) and len(set(names)) == len(names)
    found = [line.split()[1] for line in text.splitlines() if line[:2] == "│ " and line[2] != " "]
    of_results = names.index("archive") + 1  # a group stands last in its panel
    names[of_results:of_results] = ["records"]
    assert [name for name in found if name[0] != "-"] == [*names, "bench"]
    assert command(monkeypatch, "--version") == 0
    assert capfd.readouterr().out == f"loopscope {version('loopscope')}\n"


def test_the_help_of_compare_has_every_claim(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert tuple(HYPOTHESES) == NAMES
    monkeypatch.setenv("COLUMNS", "400")
    assert command(monkeypatch, "compare", "--help") == 0
    assert f"needed; one of {', '.join(HYPOTHESES)}" in capfd.readouterr().out
    assert command(monkeypatch, "compare") == 2
    assert "--claim is needed: it is one of capacity-equal" in capfd.readouterr().err


# --- exit statuses of run --------------------------------------------------------------------


@pytest.mark.parametrize(("failed", "interrupted", "status"), [((), True, 130), (("x",), False, 1)])
def test_the_exit_status_says_how_it_ended(
    failed: tuple[str, ...],
    interrupted: bool,
    status: int,
    toy: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome = SimpleNamespace(failed=failed, interrupted=interrupted, resumable=("a", "b"))
    monkeypatch.setattr("experiments.execution.runner.run_grid", lambda *a, **k: outcome)
    monkeypatch.setattr("experiments.analysis.tables.tables.print_table", lambda *a, **k: None)
    nothing = SimpleNamespace(problems=(), notes=())
    monkeypatch.setattr("experiments.results.long_table.read_results", lambda *a, **k: nothing)
    assert command(monkeypatch, "run", toy, "--out", toy.parent / "runs") == status


def test_ctrl_c_outside_of_training_is_130(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.grid.grid.load_grid", interrupt)
    assert command(monkeypatch, "plan", toy) == 130


def test_options_reach_the_runner(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def run_grid(grid: Any, out: Path, **options: Any) -> SimpleNamespace:
        seen.update(options, out=out, seeds={p.config.seed for p in grid.points})
        return SimpleNamespace(failed=(), interrupted=True, resumable=())

    monkeypatch.setattr("experiments.execution.runner.run_grid", run_grid)
    options = ["--workers", 3, "--shard", "2/3", "--part", "a", "--allow-drift"]
    options += ["--retry-failed", "--mirror", "tensorboard"]
    out = toy.parent / "runs"
    command(monkeypatch, "run", toy, "--out", out, "--set", "seed=4", *options)
    assert seen == {
        "out": out,
        "seeds": {4},
        "backend": LocalOptions(workers=3),
        "mirrors": ["tensorboard"],
        "shard": (2, 3),
        "part": "a",
        "allow_drift": True,
        "retry_failed": True,
    }


# --- a grid from end to end ------------------------------------------------------------------


@pytest.mark.usefixtures("work_here")
def test_a_grid_is_run_once_and_shown(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = toy.parent / "runs"
    where = ["--out", out]
    assert command(monkeypatch, "run", toy, *where, "--workers", 1) == 0
    printed = capfd.readouterr().out
    assert "1⊗2, entropy" in printed and "floor" in printed
    picture = out / "figures" / "toy-accuracy_versus_loops.png"
    assert picture.name in printed.replace("\n", "")
    assert picture.exists()

    planned = json_of(monkeypatch, capfd, "plan", toy, *where, "--json")
    assert planned["totals"]["status"] == {"done": 3}
    assert planned["totals"]["train_flops_left"] == 0
    for run in planned["runs"]:
        result = json.loads((out / run["run_id"] / "result.json").read_text())
        assert run["cost"]["parameters"] == result["parameters"]
        assert run["cost"]["train_flops"] == pytest.approx(result["train_flops"], rel=0.01)
        assert run["cost"]["tokens"] == pytest.approx(result["tokens"], rel=0.05)
        assert run["cost"]["steps"] == result["steps"]

    drawn = picture.stat().st_mtime_ns
    assert command(monkeypatch, "run", toy, *where, "--workers", 1) == 0
    assert picture.stat().st_mtime_ns == drawn
    capfd.readouterr()

    assert command(monkeypatch, "status", out) == 0
    assert "3 done" in capfd.readouterr().out
    assert command(monkeypatch, "table", out, "--grid", "toy", "--markdown") == 0
    assert capfd.readouterr().out.startswith("**toy: accuracy")
    assert command(monkeypatch, "figure", toy, "learning_curves", *where) == 2
    assert "learning_curves" in capfd.readouterr().err
    assert command(monkeypatch, "figure", toy, *where, "--folder", toy.parent / "pictures") == 0
    assert (toy.parent / "pictures" / picture.name).exists()
    capfd.readouterr()

    two = planned["runs"][1]["run_id"], planned["runs"][3]["run_id"]
    assert command(monkeypatch, "diff", *two, *where) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["field", "objective.kind", "objective.beta"]
    assert command(monkeypatch, "diff", out / two[0], two[0], *where) == 0
    assert capfd.readouterr().out.strip() == "the same configuration"
    assert command(monkeypatch, "export", two[0], toy.parent, *where) == 2
    assert "is a folder; FILE needs the name of a file" in capfd.readouterr().err
    probe = "{kind: accuracy, items: 3}"
    assert command(monkeypatch, "probe", out, two[0], "--probe", probe) == 0
    assert capfd.readouterr().out.split()[0] == two[0]

    frozen = out / two[0] / "config.json"
    text = frozen.read_text()
    frozen.write_text(text.replace('"width": 16', '"width": 32'))
    assert command(monkeypatch, "probe", out, two[0]) == 2
    assert "it was edited" in capfd.readouterr().err
    frozen.write_text("{")
    assert command(monkeypatch, "run", toy, *where, "--workers", 1) == 0
    assert frozen.read_text() == text


def json_of(
    monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str], *arguments: object
) -> Any:
    assert command(monkeypatch, *arguments) == 0
    return json.loads(capture.readouterr().out)


# --- plan ------------------------------------------------------------------------------------


def test_plan_writes_nothing(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(toy.parent)
    planned = json_of(monkeypatch, capsys, "plan", toy, "--json")
    assert [run["status"] for run in planned["runs"]] == ["missing"] * 4
    assert planned["runs"][3]["labels"] == {"objective": "entropy", "model.loops": "2"}
    assert command(monkeypatch, "plan", toy) == 0
    assert "4 points, 3 runs (3 missing)" in capsys.readouterr().out
    assert list(toy.parent.iterdir()) == [toy]


def test_costs_are_those_of_the_definitions(toy: Path) -> None:
    """Against a count by hand: 16 wide, 1 layer, 2 loops, 14 words, 5 tokens a document."""
    config = load_grid(toy).points[1].config
    found = cost(config)
    words, width, hidden, read = 14, 16, 42, 4
    layer = 4 * width**2 + 3 * width * hidden + 4 * width
    assert found.parameters["total"] == layer + 2 * words * width + width
    block = 2 * (4 * width**2 + 3 * width * hidden) + 4 * read * width
    documents = 12 * 32
    forward = documents * (read * 2 * block + 2 * width * (words + 1))
    assert found.train_flops == 3 * forward
    assert (found.steps, found.documents) == (12, documents)
    assert 4 * documents < found.tokens < 5 * documents


def test_a_part_is_planned_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = load_grid("composition_exits")
    planned = json_of(monkeypatch, capsys, "plan", grid.name, "--part", "sweep", "--json")
    assert {run["part"] for run in planned["runs"]} == {"sweep"}
    assert planned["totals"]["runs"] == 6 < len(grid.runs)
    assert command(monkeypatch, "plan", grid.name, "--part", "seeds") == 2
    assert "no part 'seeds'; it has sweep, exits" in capsys.readouterr().err


def test_totals_count_a_run_once(toy: Path) -> None:
    points = plan(load_grid(toy), toy.parent / "runs")
    assert points[0].run_id == points[2].run_id
    total = totals(points)
    assert (total["points"], total["runs"]) == (4, 3)
    unique = {p.run_id: p.cost.train_flops for p in points}
    assert total["train_flops"] == sum(unique.values()) == total["train_flops_left"]


# --- sample and schema -----------------------------------------------------------------------


def test_samples_show_what_is_scored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["-n", 2, "--difficulty", 2, "--split", "test", "--set", "entities=9", "--seed", 1]
    assert command(monkeypatch, "sample", "multihop", *options) == 0
    lines = capsys.readouterr().out.splitlines()
    documents = [i for i, line in enumerate(lines) if line.startswith("  <2>")]
    assert len(documents) == 2
    for i in documents:
        answer = lines[i].split()[-1]
        assert answer.startswith("[e") and answer.endswith("]")
        assert lines[i + 1] == " " * lines[i].index("[") + "^" * len(answer)
    assert lines[-2].startswith("floors at hops 2: relations 0.")
    assert lines[-1].startswith("with the held-out answers known at hops 2: relations 0.")


def test_samples_of_biographies_are_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "sample", "bios", "-n", 1, "--set", "people=5") == 0
    printed = capsys.readouterr().out
    assert "scored: every token after the first" in printed
    assert "birth_city: " in printed and "employer: " in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_the_parts_of_a_grid_can_be_sampled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = list(dict.fromkeys(p.part for p in load_grid("quick").points))
    assert command(monkeypatch, "sample", "quick", "-n", 1) == 0
    printed = capsys.readouterr().out
    assert all(f"quick: {part} (" in printed for part in parts)
    assert command(monkeypatch, "sample", "quick", "-n", 1, "--part", parts[0]) == 0
    printed = capsys.readouterr().out
    assert [f"quick: {part} (" in printed for part in parts] == [True] + [False] * (len(parts) - 1)


def test_schemas_are_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = json_of(monkeypatch, capsys, "schema")
    run = json_of(monkeypatch, capsys, "schema", "run")
    assert {"baseline", "axes", "parts", "figures"} <= set(grid["properties"])
    assert "required" in run
    for schema in (grid, run):
        for reference in references(schema):
            assert reference.removeprefix("#/$defs/") in schema["$defs"], reference
    text = json.dumps(grid)
    for name in ("multihop", "bios", "entropy", "until_exposure", "accuracy_versus_loops"):
        assert name in text


def references(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [r for value in schema.values() for r in references(value)]
    return [r for item in schema for r in references(item)] if isinstance(schema, list) else []
