"""Figures that nothing could fill are told at `plan` and `run`, and no others.

Which figures can be drawn is found out by training small grids and drawing all kinds.
"""

from pathlib import Path

import pytest
from command import command

from experiments.analysis.figures import Figure, picture
from experiments.errors import LoopscopeError
from experiments.execution.runner import run_grid
from experiments.grid.figure_checks import undrawable
from experiments.grid.grid import Grid, load_grid
from generators.plugins import choices

KINDS = tuple(choices(Figure, "experiments.analysis.figures"))
FACTS = "{kind: multihop, entities: 8, relations: 4, hops: 2}"
BARE = f"""\
baseline:
  task: {FACTS}
  model: {{width: 16, heads: 2}}
  training: {{batch: 32, phases: [{{until_step: 2}}]}}
  observe: {{log_every: 1}}
axes: {{model.loops: [1, 2]}}
"""
RICH = f"""\
baseline:
  model: {{width: 16, heads: 2, core: 2}}
  training: {{batch: 8, phases: [{{until_step: 2}}]}}
  observe: {{log_every: 1}}
axes: {{model.loops: [1, 2]}}
parts:
  facts:
    baseline:
      task: {{kind: bios, people: 10, templates: 1}}
      training: {{lr: 0.01, phases: [{{until_step: 60}}]}}
      observe.probes: [{{kind: capacity, bits: [8, 4]}}]  # of more than nothing
  hops:
    baseline:
      task: {FACTS}
      objective: {{kind: entropy, beta: 0.1}}
      observe.evaluate_every: 1
      observe.probes:
        - {{kind: accuracy, items: 8}}
        - {{kind: decoding, items: 8, cache: {{sharing: full}}}}
        - {{kind: extrapolation, items: 8}}
        - {{kind: exits, items: 8}}
        - {{kind: lens, items: 8}}
  both:
    baseline:
      task:
        kind: mixture
        components:
          store: {{task: {{kind: bios, templates: 1, people: 10}}}}
          questions: {{task: {FACTS}}}
      observe.probes: [{{kind: capacity}}, {{kind: accuracy, items: 8}}]
  growth:
    baseline:
      task: {FACTS}
      training.phases: [{{until_step: 1, core: 1}}, {{until_step: 2, growth: stack}}]
"""


def grid_of(folder: Path, text: str, figures: str) -> Grid:
    (folder / "mine.yaml").write_text(f"{text}figures: {figures}\n")
    return load_grid(folder / "mine.yaml")


def warned(folder: Path, text: str, figure: str) -> list[str]:
    return list(undrawable(grid_of(folder, text, f"[{figure}]")))


@pytest.mark.filterwarnings("ignore:Data has no positive values")  # bits after two steps
@pytest.mark.parametrize(
    ("text", "can"),
    [
        pytest.param(
            BARE, {"accuracy_versus_loops", "sample_efficiency", "seeds_solved"}, id="bare"
        ),
        pytest.param(RICH, KINDS, id="rich", marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("work_here")
def test_what_is_warned_of_is_what_cannot_be_drawn(
    tmp_path: Path, text: str, can: set[str]
) -> None:
    grid = grid_of(tmp_path, text, f"[{', '.join(f'{{kind: {kind}}}' for kind in KINDS)}]")
    assert not run_grid(grid, tmp_path / "runs", workers=1, progress=False).failed
    drawn = set()
    for kind in KINDS:
        try:
            picture(kind, tmp_path / "runs", "mine")
        except LoopscopeError as error:
            assert "no results" in str(error) or "no architecture" in str(error)
        else:
            drawn.add(kind)
    assert drawn == set(can)  # the computation that the warnings are compared with
    known = {kind for kind in KINDS if not warned(tmp_path, text, f"{{kind: {kind}}}")}
    assert known == drawn


def test_place_and_way_out_are_told(tmp_path: Path) -> None:
    grid = grid_of(tmp_path, BARE, "\n  - {kind: plane}\n  - {kind: learning_curves}")
    file = tmp_path / "mine.yaml"
    assert list(undrawable(grid)) == [
        f"{file}:8:5: figures.0: plane cannot be drawn: no run is measured by capacity or "
        "capacity_biod or capacity_sequences; set observe.probes to [{kind: capacity}] or more, of "
        "a task that it applies to",
        f"{file}:9:5: figures.1: learning_curves cannot be drawn: no run measures accuracy during "
        "training; set observe.evaluate_every",
    ]


@pytest.mark.parametrize(
    ("figure", "told"),
    [
        ("{kind: accuracy_versus_loops, split: nope}", "split nope"),
        ("{kind: accuracy_versus_loops, difficulty: 3}", "difficulty 3"),
        ("{kind: accuracy_versus_loops, part: facts}", "no run of part facts is measured by acc"),
        ("{kind: capacity_versus_loops, part: hops}", "no run of part hops is measured by cap"),
        ("{kind: plane, part: facts}", "no run of part facts is measured by accuracy"),
        ("{kind: plane, capacity_part: hops}", "no run of part hops is measured by capacity"),
        ("{kind: crowding, part: [facts, hops]}", "is measured by accuracy and by a capacity"),
        ("{kind: learning_curves, part: growth}", "no run of part growth measures accuracy"),
        ("{kind: learning_curves, metric: lens_rank, part: growth}", "measures lens_rank during"),
        ("{kind: learning_curves, split: nope}", "measures accuracy during"),
        ("{kind: heat_map, metric: probe_accuracy}", "measured by linear"),
        ("{kind: exit_distribution, part: growth}", "no run of part growth has an exit gate"),
        ("{kind: growth, part: [facts, hops]}", "no run of part facts or hops grows"),
    ],
)
def test_what_a_figure_asks_of_split_difficulty_and_part(
    tmp_path: Path, figure: str, told: str
) -> None:
    (found,) = warned(tmp_path, RICH, figure)
    assert told in found


@pytest.mark.parametrize(
    "figure",
    [
        "{kind: accuracy_versus_loops, split: train, difficulty: [2, 3]}",
        "{kind: learning_curves, metric: loss, split: train, part: growth}",
        "{kind: learning_curves, metric: lens_rank, part: hops}",
        "{kind: heat_map, metric: mine}",  # of a probe that is not known
        "{kind: plane, part: [hops, growth], capacity_part: facts}",
    ],
)
def test_no_warning_where_it_can_be_drawn(tmp_path: Path, figure: str) -> None:
    assert not warned(tmp_path, RICH, figure)


def test_plane_needs_an_architecture_that_both_halves_have(tmp_path: Path) -> None:
    apart = RICH.replace("templates: 1}", "templates: 1}\n      model.width: 32")
    assert not warned(tmp_path, apart, "{kind: plane}"), "a mixture has both in one run"
    halves = "{kind: plane, part: [hops, growth], capacity_part: facts}"
    (found,) = warned(tmp_path, apart, halves)
    assert "no architecture (layers, loops and width) is measured by both" in found


def test_an_own_probe_may_find_anything(tmp_path: Path) -> None:
    probe = "from typing import Literal\nfrom probes.accuracy import Accuracy\n"
    probe += "class Mine(Accuracy):\n    kind: Literal['mine'] = 'mine'\n"
    (tmp_path / "mine.py").write_text(probe)
    text = BARE.replace("log_every: 1", "log_every: 1, probes: [{kind: mine.py:Mine}]")
    assert not warned(tmp_path, text, "{kind: capacity_versus_loops}")


def test_an_own_figure_needs_nothing_unless_it_says_so_and_its_faults_are_told(
    tmp_path: Path,
) -> None:
    figure = """\
from typing import Literal
from experiments.analysis.figures.figure import Figure, Need
class Mine(Figure):
    kind: Literal["mine"] = "mine"
    def data(self, results): ...
    def plot(self, data): ...
"""
    for name, needs in (
        ("silent", ""),
        ("asks", "    def needs(self): return (Need('has 99 loops', lambda c: False),)\n"),
        ("fails", "    def needs(self): raise KeyError('oops')\n"),
    ):
        (tmp_path / f"{name}.py").write_text(figure + needs)
    assert not warned(tmp_path, BARE, "{kind: silent.py:Mine}")
    (found,) = warned(tmp_path, BARE, "{kind: asks.py:Mine}")
    assert found.endswith("mine cannot be drawn: no run has 99 loops")
    (found,) = warned(tmp_path, BARE, "{kind: fails.py:Mine}")
    assert "fails.py:7: KeyError: 'oops'" in found


@pytest.mark.usefixtures("work_here")
def test_plan_and_run_say_it_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    grid_of(tmp_path, BARE, "[{kind: learning_curves}]")
    told = "learning_curves cannot be drawn: no run measures accuracy during training"
    out = tmp_path / "runs"
    assert command(monkeypatch, "plan", tmp_path / "mine.yaml", "--out", out) == 0
    assert told in capfd.readouterr().err
    command(monkeypatch, "run", tmp_path / "mine.yaml", "--out", out, "--workers", 1)
    text = capfd.readouterr().err
    assert 0 <= text.find(told) < text.find("no results with")
    command(monkeypatch, "run", tmp_path / "mine.yaml", "--out", out)
    assert told not in capfd.readouterr().err  # nothing is left to train


def test_shipped_grids_draw_what_they_list() -> None:
    from experiments.grid.grid import SHIPPED

    assert not [w for path in SHIPPED.glob("*.yaml") for w in undrawable(load_grid(path))]
