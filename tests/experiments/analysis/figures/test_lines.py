"""Which points figures join, where they stand, and what figures say of what they show."""

from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from synthetic_results import accuracies, bits, config, write_run, write_toy

from experiments.analysis.drawing.panels import seeds_text
from experiments.analysis.drawing.style import GREY, MARKERS, style
from experiments.analysis.drawing.versus import ASIDE
from experiments.analysis.figures.accuracy_versus_loops import AccuracyVersusLoops
from experiments.analysis.figures.capacity_versus_loops import CapacityVersusLoops
from experiments.analysis.figures.capacity_versus_parameters import CapacityVersusParameters
from experiments.analysis.figures.extrapolation import Extrapolation
from experiments.analysis.figures.plane import Plane
from experiments.results.long_table import load_runs, read_results
from experiments.results.selection import last_loop
from experiments.runs.output import prepare_output, record_grid


def model(task: str, k: int, loops: int, width: int = 32, seed: int = 0) -> dict:
    run = config(task, loops, seed)
    run["model"].update(core=k, width=width)
    return run


@pytest.mark.parametrize("second", [(2, 1, 32), (1, 1, 64)])
def test_no_line_goes_over_loops_from_one_core_to_another(
    tmp_path: Path, second: tuple[int, int, int]
) -> None:
    """Their loops alone tell the two apart, and yet they are no two points of one line."""
    prepare_output(tmp_path)
    for name, (k, loops, width) in {"a": (1, 2, 32), "b": second}.items():
        beyond = {"metric": "loops_accuracy", "split": "test", "difficulty": 2, "n_items": 500}
        rows = accuracies(loops, {2: 0.5}, 0.1)
        rows += [{**beyond, "loop": loop, "value": 0.1 * loop} for loop in (1, 2, 3)]
        write_run(tmp_path, f"m{name}", model("multihop", k, loops, width), rows)
        write_run(tmp_path, f"c{name}", model("bios", k, loops, width), bits(loops, 1.0))
    told = {"k = 1", "k = 2"} if second[0] == 2 else {"width 32", "width 64"}
    accuracy = AccuracyVersusLoops()
    data = accuracy.data(read_results(tmp_path))
    assert set(data["series"]) == told
    assert set(Extrapolation().data(read_results(tmp_path))["series"]) == told
    assert set(CapacityVersusLoops().data(read_results(tmp_path))["hue"]) == told
    with style():
        picture = accuracy.plot(data)
    marked = [line for line in picture.axes[0].lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in marked] == [1, 1]
    assert told < {text.get_text() for text in picture.legends[0].get_texts()}


def test_loops_of_one_core_are_one_line(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    for loops in (1, 2):
        rows = accuracies(loops, {2: 0.5}, 0.1)
        write_run(tmp_path, f"r{loops}", model("multihop", 1, loops), rows)
    assert set(AccuracyVersusLoops().data(read_results(tmp_path))["series"]) == {""}


def many(out: Path) -> Path:
    """Runs of one size that differ in loops and exposures: twelve series at one x."""
    prepare_output(out)
    for loops in (1, 2, 4):
        for exposures in (50, 100, 200, 400):
            run = model("bios", 1, loops)
            run["training"]["phases"] = [{"until_exposure": exposures}]
            rows = bits(loops, 0.5, ceiling=200 / exposures)
            stored = [{**r, "metric": "bits", "value": r["value"] * 10_000} for r in rows]
            name = f"{loops}-{exposures}"
            write_run(out, name, run, [*rows, *stored], exposures=exposures)
    return out


def test_points_stand_at_their_number_of_parameters(tmp_path: Path) -> None:
    figure = CapacityVersusParameters()
    with style():
        (axes,) = figure.plot(figure.data(read_results(many(tmp_path / "runs")))).axes
    at = [x for line in axes.lines if line.get_marker() in "os^" for x in line.get_xdata()]
    assert at == [10_000.0] * 12


def test_many_series_stay_close_to_their_loops(tmp_path: Path) -> None:
    figure = CapacityVersusLoops()
    data = figure.data(read_results(many(tmp_path / "runs")))
    data = data.assign(hue=data["hue"] + data["run_id"])
    with style():
        (axes,) = figure.plot(data).axes
    at = [line.get_xdata()[0] for line in axes.lines if line.get_marker() in MARKERS]
    assert len(set(at)) == 12, "none hides another"
    for x in at:
        assert min(abs(x / loops - 1) for loops in (1, 2, 4)) <= ASIDE + 1e-9


def test_ceilings_have_the_colour_of_what_they_are_of(tmp_path: Path) -> None:
    figure = CapacityVersusLoops()
    with style():
        (axes,) = figure.plot(figure.data(read_results(many(tmp_path / "runs")))).axes
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    found = {line.get_ydata()[0]: to_hex(line.get_color()) for line in dotted}
    shown = {to_hex(line.get_color()): line for line in axes.lines if line.get_marker()}
    assert set(found) == {0.5, 1.0, 2.0, 4.0}
    assert len(set(found.values())) == 4 and set(found.values()) <= set(shown)
    whole = CapacityVersusLoops()
    with style():
        toy = read_results(write_toy(tmp_path / "toy", seeds=1), "toy")
        (axes,) = whole.plot(whole.data(toy)).axes
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [to_hex(line.get_color()) for line in dotted] == [GREY]


def test_panels_of_capacity_say_exposures_and_seeds(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    points = []
    for part, exposures, seeds in (("thousand", 1000, 3), ("doubled", 2000, 1)):
        for seed in range(seeds):
            run = model("bios", 1, 2, seed=seed)
            run["training"]["phases"] = [{"until_exposure": exposures}]
            name = f"{part}-{seed}"
            points.append({"run_id": name, "part": part, "labels": {}})
            write_run(tmp_path, name, run, bits(2, 1.0 + 0.1 * seed), exposures=exposures)
    record_grid(tmp_path, "g", title="", figures=[], points=points)
    figure = CapacityVersusLoops()
    data = figure.data(read_results(tmp_path, "g"))

    def titles(rows: object) -> list[str]:
        with style():
            return [axes.get_title() for axes in figure.plot(rows).axes]

    assert titles(data) == [
        "thousand, 1k exposures\n3 seeds",
        "doubled, 2k exposures\n1 seed",
    ]
    assert titles(data[data["seed"] == 0]) == ["thousand, 1k exposures", "doubled, 2k exposures"]


@pytest.mark.parametrize(
    ("counts", "text"), [((1, 1), "1 seed"), ((5,), "5 seeds"), ((3, 1, 5), "1–5 seeds")]
)
def test_seeds_are_counted_in_words(counts: tuple[int, ...], text: str) -> None:
    assert seeds_text(counts) == text


def test_plane_says_whose_bits_it_shows_and_what_is_missing(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    write_run(tmp_path, "c", model("bios", 1, 2), bits(2, 1.0), exposures=100)
    write_run(tmp_path, "m", model("multihop", 1, 2), accuracies(2, {2: 0.5}, 0.1))
    figure = Plane()

    def note() -> str:
        with style():
            picture = figure.plot(figure.data(read_results(tmp_path)))
        return " ".join(picture.get_supxlabel().split())

    assert "Bits: of biographies, 100 exposures" in note() and "Not drawn" not in note()
    write_run(tmp_path, "w", model("bios", 1, 1, width=64), bits(1, 1.0), exposures=100)
    write_run(tmp_path, "d", model("multihop", 4, 1), accuracies(1, {2: 0.5}, 0.1))
    told = note().partition("one of the two: ")[2].rstrip(".")
    assert sorted(told.split(", ")) == ["1⊗1 of width 64", "4⊗1 of width 32"]
    runs = last_loop(load_runs(tmp_path))
    assert {"w", "d"} <= set(runs["run_id"]), "they are measured"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("values", "told"), [((-0.5, 0.0), "2 of 2"), ((-0.5, 1.0), "1 of 2")])
def test_bits_at_or_below_0_are_counted_where_no_logarithm_has_a_place(
    tmp_path: Path, values: tuple[float, float], told: str
) -> None:
    prepare_output(tmp_path)
    for loops, value in enumerate(values, start=1):
        rows = [{**row, "value": value * 1000, "metric": "bits"} for row in bits(loops, 1.0)]
        write_run(tmp_path, f"c{loops}", model("bios", 1, loops), rows)
    figure = CapacityVersusParameters()
    with style():
        picture = figure.plot(figure.data(read_results(tmp_path)))
    (axes,) = picture.axes
    low, high = axes.get_ylim()
    assert axes.get_yscale() == "log" and 0 < low < high
    assert f"{told} values at or below 0" in {text.get_text() for text in axes.texts}
