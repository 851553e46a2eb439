"""`loopscope list`, `new` and `notebooks`, and results by short names."""

from pathlib import Path

import pytest
from command import command

import experiments
from experiments import notebook
from experiments.analysis.figures import Figure
from experiments.errors import LoopscopeError
from experiments.grid.catalogue import SKELETONS, begin, listing
from experiments.grid.figure_checks import undrawable
from experiments.grid.grid import SHIPPED, load_grid
from experiments.measuring.load import load_model
from experiments.notebook import copy_notebooks, lacking
from experiments.results import load_runs
from experiments.runs.reference import REFERENCE, place_of, reference_results
from generators.plugins import choices
from generators.task import Task
from models.model import ModelConfig
from models.objectives.objective import Objective
from probes.probe import Probe

KINDS = {
    "tasks": (Task, "generators"),
    "models": (ModelConfig, "models"),
    "objectives": (Objective, "models.objectives"),
    "probes": (Probe, "probes"),
    "figures": (Figure, "experiments.analysis.figures"),
}


@pytest.mark.parametrize("what", [*KINDS, "grids"])
def test_lists_name_everything_in_80_columns(what: str) -> None:
    text = listing(what)
    assert max(map(len, text.splitlines())) <= 80
    names = [line.partition(":")[0] for line in text.splitlines() if line[0] != " "]
    if what == "grids":
        assert names == sorted(path.stem for path in SHIPPED.glob("*.yaml"))
        assert "axes: model.loops; parts: capacity, hops" in text
        return
    known = choices(*KINDS[what])
    assert names == list(known)
    entries = dict(zip(names, _entries(text), strict=True))
    for kind, cls in known.items():
        missing = set(cls.model_fields) - set(KINDS[what][0].model_fields)
        assert all(field in entries[kind] for field in missing - {"width", "core", "loops"})


def _entries(text: str) -> list[str]:
    found: list[str] = []
    for line in text.splitlines():
        if line[0] != " ":
            found.append("")
        found[-1] += line + "\n"
    return found


def test_results_are_those_that_come_along(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, "list", "results")
    shown = capsys.readouterr().out
    assert "reference:headline: 60 runs\n    grids: compute_matched, headline, objectives" in shown
    assert shown.count("reference:") == len(reference_results())


@pytest.mark.usefixtures("work_here")
def test_skeletons_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for what in SKELETONS:
        assert command(monkeypatch, "new", what, f"my_{what}") == 0
        text = Path(f"my_{what}.py").read_text()
        assert text.startswith(f"# A {what} that works as it stands") and f'"my-{what}"' in text
        compile(text, what, "exec")
    assert command(monkeypatch, "sample", "my_task.py:MyTask") == 0
    Path("own.yaml").write_text(
        "baseline:\n"
        "  task: {kind: my_task.py:MyTask, modulus: 7}\n"
        "  model: {kind: my_model.py:MyModel, width: 16}\n"
        "  objective: {kind: my_objective.py:MyObjective}\n"
        "  training: {batch: 32, phases: [{until_step: 2}]}\n"
        "  observe: {probes: [{kind: accuracy}, {kind: my_probe.py:MyProbe}]}\n"
        "figures: [{kind: my_figure.py:MyFigure}]\n"
    )
    assert command(monkeypatch, "run", "own.yaml", "--out", "runs", "--workers", 1) == 0
    assert "my-probe" in set(load_runs("runs")["metric"])
    assert Path("runs/figures/own-my-figure.png").is_file()


def test_the_new_grid_plans_and_its_figures_can_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tried = begin("grid", "my-question", tmp_path)
    assert path == tmp_path / "my_question.yaml" and tried == f"loopscope plan {path}"
    grid = load_grid(path)
    assert (grid.name, len(grid.runs)) == ("my_question", 4) and not list(undrawable(grid))
    assert "--out runs/my_question" in path.read_text() and "NAME" not in path.read_text()
    assert command(monkeypatch, "plan", path, "--out", tmp_path / "runs") == 0
    # the parts that are commented out hold too
    with_parts = path.read_text().replace("# parts:", "parts:").replace("#   perm", "  perm")
    path.write_text(with_parts)
    assert len(load_grid(path).runs) == 8


@pytest.mark.parametrize("what", ["grid", *SKELETONS])
def test_nothing_is_overwritten_and_bad_names_are_told(tmp_path: Path, what: str) -> None:
    path, _ = begin(what, "mine", tmp_path)
    path.write_text("kept")
    with pytest.raises(LoopscopeError, match="is there already and is not replaced"):
        begin(what, "mine", tmp_path)
    assert path.read_text() == "kept"
    for name in (
        "",
        "1st",
        "../up",
        "a b",
        "Ümlaut",
        "class",
        "UPPER",
        "a/b",
        ".py",
        "x" * 3 + "!",
    ):
        with pytest.raises(LoopscopeError, match=f"cannot name a {what}"):
            begin(what, name, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("what", "name", "message"),
    [
        ("task", "batch", "a class Batch would hide what a task needs"),
        ("probe", "measurement", "a class Measurement would hide"),
        ("figure", "rows", "a class Rows would hide"),
        ("model", "none", "a class None would hide"),
        ("objective", "true", "a class True would hide"),
        ("task", "numpy", "numpy.py would hide the Python module numpy"),
        ("model", "random", "random.py would hide the Python module random"),
    ],
)
def test_a_name_that_would_break_the_skeleton_is_refused(
    tmp_path: Path, what: str, name: str, message: str
) -> None:
    with pytest.raises(LoopscopeError, match=message):
        begin(what, name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_new_grid_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = begin("grid", "mine", tmp_path)
    assert command(monkeypatch, "run", path, "--out", tmp_path / "runs", "--workers", 1) == 0
    assert set(load_runs(tmp_path / "runs")["status"]) == {"done"}
    drawn = {p.name for p in (tmp_path / "runs" / "figures").glob("*.png")}
    assert drawn == {"mine-accuracy_versus_loops.png", "mine-learning_curves.png"}


def test_a_kind_that_is_shipped_is_not_begun_again(tmp_path: Path) -> None:
    with pytest.raises(LoopscopeError, match="there is a probe 'accuracy' already"):
        begin("probe", "accuracy", tmp_path)
    assert not list(tmp_path.iterdir())


def test_notebooks_are_copied_and_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "books"
    shipped = {p.name: p.read_bytes() for p in notebook.notebook_files()}
    assert len(shipped) == 6
    assert list(copy_notebooks(folder)) == [str(folder / name) for name in shipped]
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == shipped
    edited = folder / "01-quickstart.ipynb"
    edited.write_text("mine")
    (folder / "05-your-own-task.ipynb").unlink()
    lines = list(copy_notebooks(folder))
    assert edited.read_text() == "mine"
    kept = [line.endswith("is there already and stays as it is") for line in lines]
    assert kept == [*[True] * 4, False, True]


def test_what_notebooks_need_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lacking() == ""
    monkeypatch.setattr(notebook, "find_spec", lambda name: None if name == "altair" else object())
    assert "their charts need altair, not installed here: " in lacking()
    assert " -m pip install 'altair" in lacking() and "vl-convert" not in lacking()


def test_results_by_short_name_are_those_of_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = REFERENCE / "quick"
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert load_runs("reference:quick").equals(load_runs(folder))
    assert len(load_runs("reference:ladder_sweep")) > 0  # an archive
    model, _ = load_model("reference:inside", "multihop-1x4-8bd381c27694")
    assert model.config.loops == 4
    shown = {}
    for out in ("reference:quick", folder):
        command(monkeypatch, "table", out)
        shown[out] = capfd.readouterr().out
    assert shown["reference:quick"] == shown[folder]
    claim = ("--claim", "manipulation-better")
    assert command(monkeypatch, "compare", "reference:quick", *claim) == 0
    assert command(monkeypatch, "status", "reference:quick") == 0
    first, second = sorted(p.parent.name for p in folder.glob("*/result.json"))[:2]
    assert command(monkeypatch, "diff", first, second, "--out", "reference:quick") == 0
    # what is made of them goes into the current folder
    assert command(monkeypatch, "figure", "capacity_versus_loops", "reference:quick") == 0
    assert command(monkeypatch, "report", "reference:quick") == 0
    assert {p.name for p in tmp_path.iterdir()} == {"figures", "report.html"}
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_nothing_is_written_to_results_that_come_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = (
        ["run", "quick", "--out", "reference:quick"],
        ["plan", "quick", "--out", "reference:quick"],
        ["probe", "reference:quick"],
        ["rm", "reference:quick", "--where", "status=done", "--yes"],
        ["archive", "reference:quick"],
    )
    for arguments in asked:
        assert command(monkeypatch, *arguments) == 2
        said = capfd.readouterr().err
        assert f"read only; copy {place_of('reference:quick')} and work on the copy" in said
    assert not list(tmp_path.iterdir())


def test_an_unknown_short_name_has_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(LoopscopeError, match="no reference results 'quik' .*'quick'.*headline"):
        load_runs("reference:quik")
    with pytest.raises(LoopscopeError, match="no reference results '../grids'"):
        load_runs("reference:../grids")


def test_the_guide_holds_what_skeletons_are_made_of() -> None:
    guide = (Path(experiments.__file__).parent / "EXTENDING.md").read_text()
    for file, cls, kind in SKELETONS.values():
        assert f"# {file}\n" in guide and f"class {cls}(" in guide and f'"{kind}"' in guide
