"""`loopscope figure GRID …` and `loopscope figure FIGURE OUT` are told apart."""

import json
from pathlib import Path

import pytest
from synthetic_results import write_toy
from typer.testing import CliRunner

from experiments.cli import app
from experiments.errors import LoopscopeError
from experiments.figure_commands import figures_asked
from experiments.store import record_grid

LISTED = [{"kind": "plane", "name": "both"}, {"kind": "capacity_versus_loops", "item": "name"}]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = write_toy(tmp_path / "runs", seeds=1)
    points = json.loads((folder / "grids" / "toy.json").read_text())["points"]
    record_grid(folder, "toy", title="A toy", figures=LISTED, points=points)
    return folder


def test_a_figure_and_a_folder_are_drawn_as_its_grids_list_them(out: Path) -> None:
    where = str(out)
    assert figures_asked("both", [where]) == (out, {"toy": LISTED[:1]})
    assert figures_asked("capacity_versus_loops", [where]) == (out, {"toy": LISTED[1:]})
    curves = [{"kind": "learning_curves"}]
    assert figures_asked("learning_curves", [where]) == (out, {"toy": curves})
    record_grid(out, "other", title="", figures=[], points=[])
    assert figures_asked("learning_curves", [where]) == (out, {None: curves}), "no grid is named"
    assert figures_asked("both", [where]) == (out, {"toy": LISTED[:1]})


def test_a_grid_and_figures_are_drawn_as_its_file_lists_them(out: Path) -> None:
    place, found = figures_asked("growth", [])
    assert place is None and found == {"growth": [{"kind": "growth"}]}, (
        "a grid and a kind: the grid"
    )
    assert figures_asked("growth", [str(out)]) == (out, {"toy": [{"kind": "growth"}]})
    _, found = figures_asked("quick", ["plane", "learning_curves"])
    assert [figure["kind"] for figure in found["quick"]] == ["plane", "learning_curves"]
    with pytest.raises(LoopscopeError, match="there is no grid 'plan'"):
        figures_asked("plan", [str(out)])
    with pytest.raises(LoopscopeError, match="lists no figures"):
        figures_asked("lr_sweep", [])


def test_a_folder_of_the_name_of_a_kind_is_no_folder_of_runs(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out.parent)
    out.rename("plane")
    assert figures_asked("quick", ["plane"])[0] is None
    assert figures_asked("both", ["./plane"]) == (Path("plane"), {"toy": LISTED[:1]})


def test_the_command_draws_and_says_where(out: Path) -> None:
    found = CliRunner().invoke(
        app, ["figure", "both", str(out), "--where", "part=capacity|functions"]
    )
    assert found.exit_code == 0 and found.stdout == f"{out / 'figures' / 'toy-both.png'}\n"
    assert "runs read from" in found.stderr
