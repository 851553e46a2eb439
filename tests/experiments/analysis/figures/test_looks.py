"""What a reader sees in figures of the reference results: colours, words, ticks, annotations."""

from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Picture
from matplotlib.text import Text
from synthetic_results import accuracies, bits, config, write_run, write_toy

from experiments.analysis.drawing.panels import apart, widest_gap
from experiments.analysis.drawing.style import COLOURS, NAMED, arm_looks, named
from experiments.analysis.drawing.words import in_words
from experiments.analysis.figures import draw, picture
from experiments.errors import LoopscopeError
from experiments.grid.grid import load_grid
from experiments.results.long_table import load_curves, load_runs, read_results
from experiments.runs.output import prepare_output, record_grid
from probes.statistics import wilson_interval

REFERENCE = Path(__file__).parents[4] / "experiments" / "reference"
#: grid -> the results of it as it is shipped, where older ones have its name
RENAMED = {"ladder": "ladder_strings"}
#: figures of a kind that another of the grids draws as well, left out to save their time
AGAIN = {("inside", "priors"), ("ladder", "seeds_solved"), ("ladder", "extrapolation")}


def reference(name: str) -> Path:
    archive = REFERENCE / f"{name}.zip"
    return archive if archive.is_file() else REFERENCE / name


def legend_of(made: Picture) -> dict[str, str]:
    """text -> colour"""
    return {
        text.get_text(): to_hex(line.get_color()).upper()
        for legend in made.legends
        for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }


@pytest.fixture(scope="module")
def drawn() -> dict[tuple[str, str], Picture]:
    """(grid, name of a figure) -> what the grid lists, drawn from the results that come along."""
    found = {}
    for name in ("headline", "inside", "exits", "caches", "growth", "ladder", "load"):
        results = read_results(reference(RENAMED.get(name, name)), name)
        for fields in load_grid(name).figures:
            key = name, str(fields.get("name") or fields["kind"])
            if key not in AGAIN:
                found[key] = picture(out=results, **fields)
                found[key].draw_without_rendering()
    return found


def test_an_arm_has_one_colour_in_all_figures_of_a_folder(
    drawn: dict[tuple[str, str], Picture],
) -> None:
    seen: dict[tuple[str, str], set[str]] = {}
    for (grid, _), made in drawn.items():
        arms = set(load_runs(reference(RENAMED.get(grid, grid)))["arm"])
        for text, colour in legend_of(made).items():
            if text in arms:
                seen.setdefault((grid, text), set()).add(colour)
    assert {grid for grid, _ in seen} >= {"headline", "inside", "exits", "growth", "ladder"}
    assert {key: len(colours) for key, colours in seen.items()} == dict.fromkeys(seen, 1)
    for grid in {grid for grid, _ in seen}:
        colours = [next(iter(c)) for (of, _), c in seen.items() if of == grid]
        assert len(set(colours)) == len(colours), "and no other arm has it"


def test_rows_that_are_left_out_change_no_colour() -> None:
    runs = load_runs(reference("headline"), "headline")
    whole = legend_of(picture("plane", runs))
    assert set(whole) >= {"1⊗1", "1⊗2", "1⊗4"}
    some = legend_of(picture("plane", runs[runs["n_loops"] > 1]))
    assert some == {text: c for text, c in whole.items() if text != "1⊗1"}
    assert (
        legend_of(picture("learning_curves", runs.query("k == 4 or n_loops == 4")))["4⊗1"]
        == (COLOURS[3])
    ), "as of the whole folder"


def test_what_is_no_arm_has_no_arms_colour(drawn: dict[tuple[str, str], Picture]) -> None:
    rules = legend_of(drawn["exits", "q_exit_curve"])
    assert {"static", "quantile"} <= set(rules)
    for text in set(rules) - {"floor"}:
        assert rules[text] in NAMED and rules[text] not in COLOURS
    hops = legend_of(drawn["headline", "accuracy_versus_loops"])
    assert not {hops["2 hops"], hops["3 hops"]} & {*COLOURS, *NAMED}
    assert set(named("abc")) == set("abc")


def test_there_is_one_palette() -> None:
    """Figures, the display of running grids and the explorer take theirs from one file."""
    experiments = REFERENCE.parent
    sources = [
        p for ending in ("py", "js", "css", "html") for p in experiments.rglob(f"*.{ending}")
    ]
    holds = [path.name for path in sources if COLOURS[1] in path.read_text(encoding="utf-8")]
    assert holds == ["palette.py"]
    from experiments.analysis.explorer.page import explorer_page
    from experiments.execution import live

    page = explorer_page(read_results(reference("quick"), "quick"))
    told = [colour for colour in live.COLOURS if f'"{colour}"' in page]
    assert told == [*COLOURS[:6], live.COLOURS[6]] and live.COLOURS[6] != COLOURS[6] == "#000000"


def test_more_than_twenty_arms_are_told_apart() -> None:
    import pandas as pd

    looks = arm_looks(pd.DataFrame({"arm": [f"1⊗{n}" for n in range(1, 22)]}))
    assert len({colour for colour, _ in looks.values()}) == 21


def overlapping(labels: list[Text]) -> list[tuple[str, str]]:
    boxes = [(t.get_text(), t.get_window_extent()) for t in labels if t.get_text()]
    boxes.sort(key=lambda pair: pair[1].x0)
    pairs = zip(boxes, boxes[1:], strict=False)
    return [(a, b) for (a, one), (b, other) in pairs if one.overlaps(other)]


def test_labels_of_ticks_do_not_touch(drawn: dict[tuple[str, str], Picture]) -> None:
    checked = 0
    for key, made in drawn.items():
        for axes in made.axes:
            ticks = [t for t in axes.get_xticklabels() if t.get_visible()]
            assert not overlapping(ticks), key
            checked += len(ticks)
    assert checked > 200


def test_two_labels_at_one_place_would_be_found(drawn: dict[tuple[str, str], Picture]) -> None:
    axes = drawn["inside", "extrapolation"].axes[0]
    added = [axes.text(0.5, 0.5, "10"), axes.text(0.505, 0.5, "12")]
    assert overlapping(added)
    for text in added:
        text.remove()


def test_axes_panels_and_legends_are_words(drawn: dict[tuple[str, str], Picture]) -> None:
    for key, made in drawn.items():
        assert made.axes[0].get_xlabel() or made.axes[-1].get_xlabel() or key[0] == "inside"
        texts = [
            *(a.get_title() for a in made.axes),
            *(label for a in made.axes for label in (a.get_xlabel(), a.get_ylabel())),
            *legend_of(made),
            made.get_supxlabel(),
        ]
        assert not [text for text in texts if "_" in text], key
        assert not {"multihop", "bios", "biod"} & set(" ".join(texts).replace(",", "").split())
    growth = [axes.get_title() for axes in drawn["growth", "growth"].axes]
    assert growth == ["with norm between loops", "without norm between loops"]
    assert in_words("last_loop") == "last loop"


def test_every_caption_is_a_sentence(drawn: dict[tuple[str, str], Picture]) -> None:
    for key, made in drawn.items():
        told = made.get_supxlabel()
        assert told and told[0].isupper() and told.endswith("."), (key, told)


def test_numbers_of_growth_cross_no_curve(drawn: dict[tuple[str, str], Picture]) -> None:
    told = 0
    for axes in drawn["growth", "growth"].axes:
        curves = [line for line in axes.lines if len(line.get_xdata()) > 5]
        assert curves
        for text in axes.texts:
            box = text.get_window_extent()
            told += 1
            for curve in curves:
                path = curve.get_path().transformed(curve.get_transform())
                assert not path.intersects_bbox(box, filled=False)
    assert told == 2


def test_heat_maps_have_one_colour_bar_with_its_quantity(
    drawn: dict[tuple[str, str], Picture],
) -> None:
    for name, label in (("lens", "lens accuracy"), ("linear", "probe accuracy")):
        assert [a.get_ylabel() for a in drawn["inside", name].axes].count(label) == 1


def test_load_stands_over_people(drawn: dict[tuple[str, str], Picture]) -> None:
    (axes,) = drawn["load", "capacity_versus_people"].axes
    assert axes.get_xlabel() == "people" and axes.get_xscale() == "log"
    at = {x for line in axes.lines if line.get_marker() in "os^" for x in line.get_xdata()}
    assert at == {250.0, 500.0, 1000.0, 2000.0}
    assert set(legend_of(drawn["load", "capacity_versus_people"])) >= {"1⊗1", "1⊗2", "1⊗4"}


def seeds(tmp_path: Path, values: tuple[float, ...]) -> Path:
    """1⊗2 with these accuracies, 1⊗1 with all at .1."""
    prepare_output(tmp_path)
    for seed, value in enumerate(values):
        for loops, right in ((1, 0.1), (2, value)):
            rows = accuracies(loops, {2: right}, 0.1)
            write_run(tmp_path, f"a-{loops}-{seed}", config("multihop", loops, seed), rows)
    return tmp_path


def test_seeds_in_two_groups_have_no_mean(tmp_path: Path) -> None:
    (axes,) = picture("accuracy_versus_loops", seeds(tmp_path / "a", (0.1, 1.0, 1.0))).axes
    (line,) = [line for line in axes.lines if line.get_marker() == "o"]
    shown = [y for y in line.get_ydata() if y == y]
    assert shown == [pytest.approx(0.1)], "of 1⊗1 alone"
    assert [text.get_text() for text in axes.texts] == ["2/3"]
    (axes,) = picture("accuracy_versus_loops", seeds(tmp_path / "b", (0.8, 0.9, 1.0))).axes
    (line,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert [y for y in line.get_ydata() if y == y] == [pytest.approx(0.1), pytest.approx(0.9)]
    assert not axes.texts


def test_a_stretch_without_seeds_parts_them() -> None:
    assert apart([0.1, 0.2, 1.0]) and not apart([0.1, 0.3, 0.5, 0.7]) and not apart([0.4])
    assert widest_gap([1.0, 0.1, 0.3]) == (0.3, 1.0) and widest_gap([0.4]) == (0.4, 0.4)


def test_seeds_solved_is_a_share_with_its_interval(tmp_path: Path) -> None:
    out = seeds(tmp_path, (0.1, 0.96, 1.0))
    write_run(out, "lost", config("multihop", 2, 3)).fail("diverged")
    made = picture("seeds_solved", out)
    (axes,) = made.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["1⊗1", "1⊗2"]
    assert [text.get_text() for text in axes.texts] == ["0/3", "2/4"], "one that failed counts"
    assert "1) count as not solved" in made.get_supxlabel()
    bars = [s for c in axes.collections if hasattr(c, "get_segments") for s in c.get_segments()]
    ends = [tuple(sorted(bar[:, 0])) for bar in sorted(bars, key=lambda bar: bar[0][1])]
    assert ends == [pytest.approx(wilson_interval(*share)) for share in ((0, 3), (2, 4))]
    stricter = picture("seeds_solved", out, level=0.99).axes[0]
    assert [text.get_text() for text in stricter.texts] == ["0/3", "1/4"]


def test_seeds_solved_tells_the_parameters_of_its_arms(tmp_path: Path) -> None:
    runs = load_runs(seeds(tmp_path, (0.1, 0.96, 1.0)))

    def told(**parameters: int) -> str:
        given = runs.assign(parameters=runs["arm"].map({"1⊗1": 7000, "1⊗2": 7000, **parameters}))
        return picture("seeds_solved", given).get_supxlabel().replace("\n", " ")

    assert told().endswith("All arms have 7k parameters.")
    assert told(**{"1⊗2": 25000}).endswith("Parameters: 1⊗1 7k; 1⊗2 25k.")
    assert "arameters" not in told(**{"1⊗1": None, "1⊗2": None})  # type: ignore[arg-type]


def test_arms_of_one_row_stand_aside_with_their_bars(tmp_path: Path) -> None:
    """Means, bars and seeds of an arm at one height; an arm alone in the middle of its row."""
    prepare_output(tmp_path)
    for k, caches in ((1, ("full", "average")), (2, ("full",))):
        for seed in range(3):
            run = config("multihop", 2, seed)
            run["model"]["core"] = k
            rows = []
            for cache in caches:
                place = {"split": "test", "difficulty": 2, "loop": 2, "n_items": 100}
                place["item"] = f"exit all, cache {cache}, prefill full"
                value = {"full": 0.5, "average": 0.3}[cache] + 0.1 * k + 0.01 * seed
                rows.append({"metric": "accuracy", "value": value, **place})
                rows.append({"metric": "cache_bytes_per_token", "value": 512, **place})
            write_run(tmp_path, f"{k}-{seed}", run, rows)
    (axes,) = picture("cache_strategies", tmp_path).axes
    rows_of = [text.get_text() for text in axes.get_yticklabels()]
    assert rows_of == ["cache full: 512 B/token", "cache average: 512 B/token"]
    bars = [s for c in axes.collections if hasattr(c, "get_segments") for s in c.get_segments()]
    means = {0.61: -0.2, 0.71: 0.2, 0.41: 1.0}  # 1⊗2 and 2⊗2 of the first row, 1⊗2 of the second
    heights = {float(bar[0][1]): sorted(bar[:, 0]) for bar in bars if bar[0][1] == bar[1][1]}
    assert sorted(heights) == pytest.approx(sorted(means.values()))
    dots = [point for c in axes.collections for point in c.get_offsets().tolist()]
    for mean, height in means.items():
        here = sorted(x for x, y in dots if y == pytest.approx(height))
        assert here == pytest.approx([mean - 0.01, mean, mean, mean + 0.01])
        (ends,) = [ends for y, ends in heights.items() if y == pytest.approx(height)]
        assert ends[0] < mean < ends[1]
    assert set(legend_of(picture("cache_strategies", tmp_path))) == {"1⊗2", "2⊗2"}


def test_no_figure_is_left_with_pyplot(drawn: dict[tuple[str, str], Picture]) -> None:
    """A notebook would show it a second time, and a report of many would keep all in memory."""
    import matplotlib.pyplot as plt

    from experiments.analysis.figures import draw_figure, figure_of

    results = read_results(reference("inside"), "inside")
    draw_figure(figure_of("heat_map", difficulty=3), results)
    draw_figure(figure_of("extrapolation"), results)
    assert not plt.get_fignums()


def test_grids_are_kept_apart(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    for grid, total in (("first", 1.0), ("second", 2.0)):
        rows = bits(2, total)
        stored = {**rows[-1], "metric": "bits", "value": total * 1e4, "ceiling": 3e4}
        write_run(tmp_path, grid, config("bios", 2, 0), [*rows, stored], exposures=100)
        points = [{"run_id": grid, "part": "", "labels": {}}]
        record_grid(tmp_path, grid, title="", figures=[], points=points)
    for kind in ("capacity_versus_parameters", "capacity_versus_loops", "capacity_versus_people"):
        titles = [axes.get_title() for axes in picture(kind, tmp_path).axes]
        assert [t.split(",")[0] for t in titles] == ["first", "second"], kind
    (one,) = picture("capacity_versus_parameters", tmp_path, "first").axes
    assert one.get_title() == "biographies"


@pytest.mark.parametrize("kind", ["learning_curves", "accuracy_versus_loops", "seeds_solved"])
def test_rows_of_a_table_are_drawn(kind: str, tmp_path: Path) -> None:
    runs = load_runs(write_toy(tmp_path / "runs"), "toy").query("part == 'functions'")
    titles = {axes.get_title() for axes in picture(kind, runs).axes}
    assert titles and all(title.startswith("functions") for title in titles)
    curves = load_curves(tmp_path / "runs", "toy")
    assert picture("learning_curves", curves[curves["part"] == "functions"]).axes


def test_rows_of_a_table_know_their_tasks() -> None:
    runs = load_runs(reference("headline"), "headline")
    made = picture("sample_efficiency", runs[runs["part"] == "permutations"])
    assert made.axes[0].get_xlabel() == "distinct training questions"
    lost = runs.copy()
    lost.attrs.clear()
    with pytest.raises(LoopscopeError, match="config of .* is needed, which a table does not hold"):
        picture("sample_efficiency", lost)


def test_format_size_and_font_are_options(tmp_path: Path) -> None:
    out = write_toy(tmp_path / "runs", seeds=1)
    look = {"formats": ["pdf", "png"], "size": [4.0, 2.0], "font": "serif", "font_size": 7.0}
    pdf, png, csv = draw("plane", out, "toy", tmp_path / "figures", **look)
    assert pdf.read_bytes().startswith(b"%PDF") and csv.suffix == ".csv"
    pixels = png.read_bytes()
    assert (int.from_bytes(pixels[16:20], "big"), int.from_bytes(pixels[20:24], "big")) == (
        800,
        400,
    )
    made = picture("plane", out, "toy", **look)
    assert made.axes[0].xaxis.label.get_fontfamily() == ["serif"]
    assert made.axes[0].xaxis.label.get_fontsize() == 7.0
    again = draw("plane", out, "toy", tmp_path / "again", **look)
    assert again[0].read_bytes() == pdf.read_bytes(), "the same results give the same file"
    for wrong, message in (
        ({"font": "DejaVu Sanz"}, "none of that name .did you mean 'DejaVu Sans"),
        ({"size": [0, 2]}, "greater than 0"),
        ({"size": [1e9, 2]}, "less than or equal to 100"),
        ({"size": [float("inf"), 2]}, "less than or equal to 100"),
        ({"font_size": 1e6}, "less than or equal to 200"),
        ({"formats": ["gif"]}, "'png', 'svg' or 'pdf'"),
        ({"formats": []}, "at least 1"),
        ({"font_size": -1}, "greater than 0"),
    ):
        with pytest.raises(LoopscopeError, match=message):
            picture("plane", out, "toy", **wrong)
