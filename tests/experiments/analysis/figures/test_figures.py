"""The data behind each figure, what is drawn from it, and the files."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from synthetic_results import LOOPS, accuracies, bits, config, write_run, write_toy

from experiments.analysis.drawing.style import FLOOR, ramp, style
from experiments.analysis.figures import draw, figure_of
from experiments.analysis.figures.accuracy_versus_loops import AccuracyVersusLoops
from experiments.analysis.figures.capacity_versus_loops import CapacityVersusLoops
from experiments.analysis.figures.figure import Figure
from experiments.analysis.figures.learning_curves import LearningCurves
from experiments.analysis.figures.plane import Plane
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.results.long_table import load_runs, read_results
from experiments.results.selection import last_loop, where
from experiments.runs.output import prepare_output, record_grid
from generators.plugins import choices

KINDS = ("accuracy_versus_loops", "capacity_versus_loops", "learning_curves", "plane")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("figures") / "runs")


def test_kinds_are_discovered() -> None:
    assert set(KINDS) < set(choices(Figure, "experiments.analysis.figures"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_renders_its_three_files(kind: str, out: Path, tmp_path: Path) -> None:
    png, svg, csv = draw(kind, out, "toy", tmp_path)
    assert [p.name for p in (png, svg, csv)] == [f"toy-{kind}.{e}" for e in ("png", "svg", "csv")]
    assert png.read_bytes().startswith(b"\x89PNG") and png.stat().st_size > 10_000
    assert "<svg" in svg.read_text() and len(pd.read_csv(csv)) > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in (png, svg, csv))


def test_the_same_results_give_the_same_files(out: Path, tmp_path: Path) -> None:
    first, second = (draw("plane", out, "toy", tmp_path / n) for n in "ab")
    assert [a.read_bytes() for a in first] == [b.read_bytes() for b in second]


def test_accuracy_data_is_held_out_and_of_the_last_loop(out: Path) -> None:
    data = AccuracyVersusLoops().data(read_results(out, "toy"))
    assert len(data) == 2 * len(LOOPS) * 2 * 3, "worlds × loops × hops × seeds"
    assert set(data["split"]) == {"test"} and set(data["hue"]) == {"2 hops", "3 hops"}
    assert (data["loop"] == data["n_loops"]).all()
    assert set(data["panel"]) == {"functions", "permutations"}
    runs = last_loop(load_runs(out, "toy"))
    wanted = where(runs, metric="accuracy", split="test", n_loops=2)["value"]
    assert sorted(where(data, n_loops=2)["value"]) == sorted(wanted)
    one = AccuracyVersusLoops(part="functions", difficulty=3).data(read_results(out, "toy"))
    assert set(one["part"]) == {"functions"} and set(one["difficulty"]) == {3}


def test_a_filter_holds_where_the_figure_leaves_it_open(out: Path) -> None:
    """Learning curves choose by `difficulty`, which is None unless it is said."""
    figure = LearningCurves(kind="learning_curves", where={"difficulty": 3})
    assert set(figure.data(read_results(out, "toy"))["difficulty"]) == {3}
    figure = LearningCurves(kind="learning_curves", where={"difficulty": 3}, difficulty=2)
    assert set(figure.data(read_results(out, "toy"))["difficulty"]) == {2}, "the field is said"


def test_accuracy_picture_shows_means_seeds_and_floors(out: Path) -> None:
    figure = AccuracyVersusLoops(part="functions")
    data = figure.data(read_results(out, "toy"))
    with style():
        (axes,) = figure.plot(data).axes
    lines = {to_hex(line.get_color()): line for line in axes.lines if line.get_marker() in "os"}
    for hue, (colour, _) in ramp(("2 hops", "3 hops")).items():
        means = data[data["hue"] == hue].groupby("n_loops")["value"].mean()
        assert lines[colour].get_ydata() == pytest.approx(means.to_numpy())
    dashed = [line for line in axes.lines if line.get_linewidth() == FLOOR["linewidth"]]
    assert [line.get_ydata()[0] for line in dashed] == [pytest.approx(0.2)]
    points = [c for c in axes.collections if len(c.get_offsets()) == len(c.get_facecolor())]
    faint = sum(len(c.get_offsets()) for c in points if (c.get_facecolor()[:, 3] < 1).all())
    assert faint == len(data), "every seed is a point"
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("held-out accuracy", "loops")


def test_an_equal_depth_baseline_is_a_line_of_its_own(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    for name, k, loops, lr in (("a", 1, 1, 1e-3), ("b", 1, 4, 2e-3), ("c", 4, 1, 3e-3)):
        run = config("multihop", loops, 0, lr=lr)
        run["model"]["core"] = k
        write_run(tmp_path, name, run, accuracies(loops, {2: 0.5}, 0.1))
    data = AccuracyVersusLoops().data(read_results(tmp_path)).set_index("run_id")
    assert data["series"].to_dict() == {"a": "k = 1", "b": "k = 1", "c": "k = 4"}


def test_capacity_series_are_told_apart_by_exposures(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    for exposures in (100, 400):
        for loops in (1, 2):
            run = config("bios", loops, 0, phases=[{"until_exposure": exposures}])
            name = f"{exposures}-{loops}"
            write_run(tmp_path, name, run, bits(loops, exposures / 200), exposures=exposures)
    data = CapacityVersusLoops().data(read_results(tmp_path))
    assert set(zip(data["hue"], data["value"], strict=True)) == {
        ("100 exposures", 0.5),
        ("400 exposures", 2.0),
    }
    items = CapacityVersusLoops(item=("name", "value")).data(read_results(tmp_path))
    assert "400 exposures, name" in set(items["hue"])


@pytest.mark.parametrize("kind", ["capacity_versus_people", "capacity_versus_parameters"])
def test_bits_of_several_items_are_told_apart(kind: str, tmp_path: Path) -> None:
    prepare_output(tmp_path)
    rows = bits(2, 1.0)
    stored = [{**row, "metric": "bits", "value": 1e4 * row["value"]} for row in rows]
    write_run(tmp_path, "a", config("bios", 2, 0), [*rows, *stored])
    data = figure_of(kind, item=("name", "value")).data(read_results(tmp_path))
    assert set(data["series"]) == {"name", "value"} and len(data) == 2
    assert set(figure_of(kind).data(read_results(tmp_path))["series"]) == {""}


def test_capacity_picture_shows_floor_and_ceiling(out: Path) -> None:
    figure = CapacityVersusLoops()
    with style():
        (axes,) = figure.plot(figure.data(read_results(out, "toy"))).axes
    levels = {line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1}
    assert {0.0, 3.0} <= levels


def test_plane_matches_architecture_and_seed(out: Path) -> None:
    data = Plane().data(read_results(out, "toy"))
    assert set(data["panel"]) == {"functions, 3 hops", "permutations, 3 hops"}
    assert len(data) == 2 * len(LOOPS) * 3
    runs = last_loop(load_runs(out, "toy"))
    for row in data.itertuples():
        stored = where(runs, run_id=f"capacity-1x{row.n_loops}-{row.seed}", item="total")
        part = row.panel.partition(",")[0]
        asked = where(runs, run_id=f"{part}-1x{row.n_loops}-{row.seed}", split="test", difficulty=3)
        assert (row.bits_per_parameter, row.accuracy) == (
            stored["value"].item(),
            asked["value"].item(),
        )


def test_plane_without_a_common_architecture_says_what_there_is(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    wide = config("bios", 2, 0)
    wide["model"]["width"] = 64
    write_run(tmp_path, "a", wide, bits(2, 1.0))
    write_run(tmp_path, "b", config("multihop", 2, 0), accuracies(2, {2: 0.5}, 0.1))
    with pytest.raises(LoopscopeError, match=r"1⊗2 of width 64; accuracy has 1⊗2 of width 32"):
        draw("plane", tmp_path)


def test_plane_keeps_exposures_apart_and_can_choose(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    points = [{"run_id": "m", "part": "questions", "labels": {}}]
    for exposures in (100, 200):
        run = config("bios", 2, 0, phases=[{"until_exposure": exposures}])
        name = f"c{exposures}"
        points.append({"run_id": name, "part": name, "labels": {}})
        write_run(tmp_path, name, run, bits(2, exposures / 100), exposures=exposures)
    write_run(tmp_path, "m", config("multihop", 2, 0), accuracies(2, {2: 0.5}, 0.1))
    record_grid(tmp_path, "parts", title="", figures=[], points=points)
    both = Plane().data(read_results(tmp_path))
    assert dict(zip(both["series"], both["bits_per_parameter"], strict=True)) == {
        "100 exposures": 1.0,
        "200 exposures": 2.0,
    }
    chosen = Plane(capacity_where={"exposures": 200}).data(read_results(tmp_path))
    assert chosen["bits_per_parameter"].tolist() == [2.0]


def test_learning_curves_know_when_a_skill_emerges(out: Path) -> None:
    data = LearningCurves(level=0.7).data(read_results(out, "toy"))
    emerged = data.groupby(["panel", "series"])["emerged"].agg(["min", "count"])
    assert emerged.loc[("functions, 2 hops", "1⊗4"), "min"] == 750
    assert emerged.loc[("functions, 2 hops", "1⊗1"), "count"] == 0, "never"
    loss = LearningCurves(metric="loss", split="train", level=None).data(read_results(out, "toy"))
    assert set(loss["value"]) == {3.0}


def test_part_and_title_shape_the_files(out: Path, tmp_path: Path) -> None:
    options = {"part": "functions", "title": "A title"}
    paths = draw("accuracy_versus_loops", out, None, tmp_path, **options)
    assert paths[0].name == "accuracy_versus_loops-functions.png"
    assert "A title" in paths[1].read_text()
    assert draw("plane", out, "toy", tmp_path, name="mine")[0].name == "toy-mine.png"


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("plain", {}, "did you mean 'plane'"),
        ("plane", {"dificulty": 3}, "dificulty"),
        ("plane", {"difficulty": "hard"}, "difficulty"),
        ("accuracy_versus_loops", {"part": "capacity"}, "measured are bits_per_parameter in"),
        ("capacity_versus_loops", {"where": {"width": 7}}, "no results with"),
        (
            "learning_curves",
            {"metric": "nll"},
            "with metric nll, split test; measured .*; set observe.evaluate_every",
        ),
        ("capacity_versus_loops", {"where": {"widht": 7}}, "no column 'widht'"),
    ],
)
def test_bad_options_are_named(
    kind: str, options: dict, message: str, out: Path, tmp_path: Path
) -> None:
    with pytest.raises(LoopscopeError, match=message):
        draw(kind, out, "toy", tmp_path, **options)
    assert not list(tmp_path.iterdir()), "nothing half-made"


def test_figures_draw_what_is_there_beside_failed_runs(tmp_path: Path) -> None:
    out = write_toy(tmp_path / "runs", seeds=1)
    (out / "functions-1x2-0" / "result.json").unlink()
    data = AccuracyVersusLoops(part="functions").data(read_results(out, "toy"))
    assert set(data["n_loops"]) == {1, 4}
    record_grid(out, "empty", title="", figures=[], points=[])
    with pytest.raises(LoopscopeError, match="none yet"):
        draw("plane", out, "empty")


def test_a_figure_from_a_file(out: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from typing import Literal\n"
        "from experiments.analysis.figures.accuracy_versus_loops import AccuracyVersusLoops\n"
        "class Mine(AccuracyVersusLoops):\n"
        "    kind: Literal['mine'] = 'mine'\n"
    )
    assert draw(f"{plugin}:Mine", out, "toy", tmp_path)[0].is_file()


def test_importing_the_figures_is_cheap() -> None:
    """A plan validates figures without paying for pandas and matplotlib."""
    code = (
        "import sys\n"
        "from experiments.analysis.figures import Figure\n"
        "from generators.plugins import choices\n"
        "choices(Figure, 'experiments.analysis.figures')\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'seaborn', 'scipy'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_bits_left_of_rounded_weights_stand_over_the_bits_of_a_weight(tmp_path: Path) -> None:
    """At 32 what was trained; where no model keeps anything, nothing is drawn."""
    prepare_output(tmp_path)
    for loops, left in ((1, {"": 2.0, "_int8": 1.9, "_int5": 0.5, "_int4": -3.0}), (4, {"": 2.5})):
        left = {"_int8": 2.4, "_int5": -1.0, "_int4": -6.0, **left}
        (total,) = (row for row in bits(loops, 1.0) if row["item"] == "total")
        rows = [{**total, "metric": f"bits_per_parameter{e}", "value": v} for e, v in left.items()]
        write_run(tmp_path, f"r{loops}", config("bios", loops, 0), rows)
    figure = figure_of("capacity_versus_rounding")
    data = figure.data(read_results(tmp_path))
    assert set(zip(data["hue"], data["bits"], data["value"], strict=True)) == {
        *(("1⊗1", 32, 2.0), ("1⊗1", 8, 1.9), ("1⊗1", 5, 0.5)),
        *(("1⊗4", 32, 2.5), ("1⊗4", 8, 2.4), ("1⊗4", 5, -1.0)),
    }
    with style():
        (axes,) = figure.plot(data).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["5", "8", "32"]
    assert axes.get_ylim()[0] == -0.25


def test_a_figure_of_rounding_asks_for_a_probe_that_rounds(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    write_run(tmp_path, "r", config("bios", 1, 0), bits(1, 2.0))
    with pytest.raises(LoopscopeError, match=r"capacity probe bits, such as `bits: \[8, 6, 4\]`"):
        figure_of("capacity_versus_rounding").data(read_results(tmp_path))
    figure, missing = figure_of("capacity_versus_rounding"), []
    for probes in (None, [{"kind": "capacity_biod"}], [{"kind": "capacity_biod", "bits": [8]}]):
        run = config("biod", 1, 0)
        run["observe"] = {"probes": probes}
        missing.append(list(figure.missing([("", RunConfig.model_validate(run))])))
    assert [["measured after rounding" in m for m in told] for told in missing] == [
        [True],
        [True],
        [],
    ]
