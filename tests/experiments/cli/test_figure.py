"""`loopscope figure GRID …` and `loopscope figure FIGURE OUT` are told apart."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import TOY, command
from synthetic_results import write_toy
from typer.testing import CliRunner

from experiments.analysis.figures.capacity_versus_loops import CapacityVersusLoops
from experiments.cli.figure import figures_asked
from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.results.long_table import load_runs, read_results
from experiments.runs.output import record_grid

LISTED = [{"kind": "plane", "name": "both"}, {"kind": "capacity_versus_loops", "item": "name"}]


def asked(first: str, others: list[str]) -> tuple[Path, dict[str | None, list[dict[str, Any]]]]:
    """The folder and the figures that the arguments name."""
    source, figures = figures_asked(first, others)
    assert source is not None
    return source.path, figures


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = write_toy(tmp_path / "runs", seeds=1)
    points = json.loads((folder / "grids" / "toy.json").read_text())["points"]
    record_grid(folder, "toy", title="A toy", figures=LISTED, points=points)
    return folder


def test_a_figure_and_a_folder_are_drawn_as_its_grids_list_them(out: Path) -> None:
    where = str(out)
    assert asked("both", [where]) == (out, {"toy": LISTED[:1]})
    assert asked("capacity_versus_loops", [where]) == (out, {"toy": LISTED[1:]})
    curves = [{"kind": "learning_curves"}]
    assert asked("learning_curves", [where]) == (out, {"toy": curves})
    record_grid(out, "other", title="", figures=[], points=[])
    assert asked("learning_curves", [where]) == (out, {None: curves}), "no grid is named"
    assert asked("both", [where]) == (out, {"toy": LISTED[:1]})


def test_a_grid_and_figures_are_drawn_as_its_file_lists_them(out: Path) -> None:
    place, found = figures_asked("growth", [])
    assert place is None and found == {"growth": [{"kind": "growth"}]}, (
        "a grid and a kind: the grid"
    )
    assert asked("growth", [str(out)]) == (out, {"toy": [{"kind": "growth"}]})
    _, found = figures_asked("quick", ["plane", "learning_curves"])
    assert [figure["kind"] for figure in found["quick"]] == ["plane", "learning_curves"]
    with pytest.raises(LoopscopeError, match="there is no grid 'plan'"):
        figures_asked("plan", [str(out)])
    with pytest.raises(LoopscopeError, match="lists no figures"):
        figures_asked("lr_sweep", [])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("bogus", "there is no grid 'bogus'.* nor is it a figure; figures are .*learning_curves"),
        ("learning_curvs", "nor is it a figure .did you mean 'learning_curves'"),
        ("learning_curves", "`loopscope figure learning_curves OUT` draws it"),
    ],
)
def test_what_is_no_grid_may_be_meant_as_a_figure(asked: str, message: str) -> None:
    with pytest.raises(LoopscopeError, match=message):
        figures_asked(asked, [])


def test_a_folder_of_the_name_of_a_kind_is_no_folder_of_runs(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out.parent)
    out.rename("plane")
    assert figures_asked("quick", ["plane"])[0] is None
    assert asked("both", ["./plane"]) == (Path("plane"), {"toy": LISTED[:1]})


def test_the_command_draws_and_says_where(out: Path) -> None:
    found = CliRunner().invoke(
        app, ["figure", "both", str(out), "--where", "part=capacity|functions"]
    )
    assert found.exit_code == 0 and found.stdout == f"{out / 'figures' / 'toy-both.png'}\n"
    assert "runs read from" in found.stderr


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        (["n_loops>=2"], lambda rows: rows["n_loops"] >= 2),
        (["n_loops!=2"], lambda rows: rows["n_loops"] != 2),
        (["n_loops=1|2", "loop<2"], lambda rows: (rows["n_loops"] <= 2) & (rows["loop"] < 2)),
        (["part=capacity,arm=1x4"], lambda rows: rows["n_loops"] == 4),
    ],
)
def test_figures_take_what_tables_take(
    out: Path, conditions: list[str], kept: Callable[[Any], Any]
) -> None:
    runs = load_runs(out, "toy")
    rows = runs[(runs["metric"] == "bits_per_parameter") & (runs["item"] == "total")]
    rows = rows[rows["loop"].isna() | (rows["loop"] == rows["n_loops"])]
    wanted = rows[kept(rows).fillna(False)]
    figure = CapacityVersusLoops(conditions=tuple(conditions))
    data = figure.data(read_results(out, "toy"))
    assert 0 < len(data) < len(rows)
    assert sorted(data["run_id"]) == sorted(wanted["run_id"])


def test_a_condition_takes_the_place_of_the_figure_s_own(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[dict[str, Any]] = []
    monkeypatch.setattr("experiments.cli.run.draw_figures", lambda f, *_: drawn.extend(f))
    own = {"kind": "plane", "where": {"n_loops": 1, "width": 64}, "conditions": ["seed=0"]}
    points = json.loads((out / "grids" / "toy.json").read_text())["points"]
    record_grid(out, "toy", title="", figures=[own], points=points)
    for where in ([], ["--where", "n_loops>1"]):
        assert CliRunner().invoke(app, ["figure", "plane", str(out), *where]).exit_code == 0
    narrowed = {"where": {"width": 64}, "conditions": ["seed=0", "n_loops>1"]}
    assert drawn == [own, own | narrowed]


OWN = """\
from typing import Literal
from matplotlib.figure import Figure as Picture
from experiments.analysis.figures.figure import Figure
class Mine(Figure):
    kind: Literal["mine"] = "mine"
    scale: float = 1.0
    def data(self, results):
        return self.select(results.runs, metric="accuracy").assign(scale=self.scale)
    def plot(self, data):
        return Picture()
"""


def test_a_figure_of_a_file_is_drawn_as_from_a_grid(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out.parent / "own.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(out.parent)
    kind = f"{out.parent}/own.py:Mine"
    name = "own.py:Mine"
    assert asked(name, ["runs"]) == (Path("runs"), {"toy": [{"kind": kind}]}), "no grid lists it"
    points = json.loads((out / "grids" / "toy.json").read_text(encoding="utf-8"))["points"]
    listed = {"kind": kind, "scale": 2.0}
    record_grid(out, "toy", title="A toy", figures=[listed], points=points)
    assert asked(name, ["runs"]) == (Path("runs"), {"toy": [listed]}), "with what the grid sets"
    found = CliRunner().invoke(app, ["figure", name, "runs"])
    assert found.exit_code == 0 and found.stdout == "runs/figures/toy-mine.png\n"
    drawn = (out / "figures" / "toy-mine.csv").read_text(encoding="utf-8").splitlines()
    rows = load_runs(out).query("metric == 'accuracy'")
    assert drawn[0].endswith(",scale") and drawn[1].endswith(",2.0")
    assert len(drawn) == len(rows) + 1
    assert figures_asked("quick", [name])[1] == {"quick": [{"kind": kind}]}


@pytest.mark.parametrize(
    ("name", "others", "message"),
    [
        ("own.py:Mine", [], "own.py:Mine is a figure: `loopscope figure .*own.py:Mine OUT` draws"),
        ("own.py:Mine", ["nowhere"], "own.py:Mine is a figure"),
        ("own.py:Nope", ["runs"], "has no class Nope"),
        ("other.py:Mine", ["runs"], "there is no file .*other.py"),
        ("quick", ["other.py:Mine"], "there is no file .*other.py"),
    ],
)
def test_a_figure_of_a_file_that_cannot_be_drawn_is_a_message(
    out: Path, monkeypatch: pytest.MonkeyPatch, name: str, others: list[str], message: str
) -> None:
    (out.parent / "own.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(out.parent)
    with pytest.raises(LoopscopeError, match=message):
        figures_asked(name, others)


@pytest.mark.usefixtures("work_here")
def test_the_command_after_a_failed_run_draws_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = tmp_path / "my grids" / "toy.yaml"
    grid.parent.mkdir()
    axes = "axes: {training.lr: [1e-3, 1e30]}\n"
    text = TOY[: TOY.index("axes")] + axes + TOY[TOY.index("figures") :]
    grid.write_text(text, encoding="utf-8")
    asked = ["run", "my grids/toy.yaml", "--out", "my runs", "--workers", 1]
    assert command(monkeypatch, *asked) == 1
    hint = re.search("`loopscope (.*)` draws", capsys.readouterr().err)
    assert hint is not None
    found = CliRunner().invoke(app, shlex.split(hint[1]))
    assert found.exit_code == 0, found.output
    assert found.stdout == "my runs/figures/toy-accuracy_versus_loops.png\n"


@pytest.mark.parametrize("figure", ["capacity_versus_loops", "plane"])
def test_conditions_that_are_none_are_told(out: Path, figure: str) -> None:
    def told(*where: str) -> str:
        found = CliRunner().invoke(app, ["figure", figure, str(out), "--where", *where])
        assert isinstance(found.exception, LoopscopeError)
        return str(found.exception)

    assert "needs one number, for >=" in told("n_loops>=many")
    assert "no column 'n_lops' (did you mean 'n_loops'?)" in told("n_lops>=2")
    assert "no results with" in told("n_loops>99")
    with pytest.raises(ValueError, match="needs a column"):
        CapacityVersusLoops(conditions=("=",))
