"""What tables must never lose, mix or leave unsaid."""

import io
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from synthetic_results import accuracies, bits, config, write_run, write_toy

from experiments.analysis.tables.abilities import (
    BELOW_NOTHING,
    EVERY_ROW,
    WITHOUT_ROWS,
)
from experiments.analysis.tables.exits import NOTE
from experiments.analysis.tables.questions import accuracy_table, emergence_table
from experiments.analysis.tables.tables import print_table, tables
from experiments.results.long_table import load_curves, load_runs, read_results
from experiments.results.selection import are_shares, bounds_of, last_loop
from experiments.runs.output import prepare_output, record_grid
from experiments.text import LEAST, NumberText, TextTable
from probes.statistics import bounded_summary


def drawn(table: TextTable, width: int) -> str:
    file = io.StringIO()
    table.draw(Console(file=file, width=width, color_system=None))
    return file.getvalue()


@pytest.mark.parametrize("width", [20, 60, 80, 100, 300])
def test_no_width_costs_a_column_or_a_digit(width: int) -> None:
    cells = tuple(f"0.{i}00 ±0.{i}55 {i}/2" for i in range(8))
    name = "1⊗4, four times the exposures of the others"
    reason = "no space left on [device] number 7 of the machine"
    head = ("arm", *(f"{i} hops, seen" for i in range(8)), "reason")
    lines = drawn(TextTable("A title of several words", head, ((name, *cells, reason),)), width)
    assert lines.split()[:5] == ["A", "title", "of", "several", "words"]
    text = " ".join(lines.split())
    for whole in (*head, *cells):
        assert whole in text
    widths = [len(part) for part in lines.splitlines() if "no space" in part]
    assert widths and all(w > LEAST for w in widths), "text has room for several words"
    if width < 100:
        assert name[:LEAST].rsplit(" ", 1)[0] in text


def test_four_difficulties_of_two_seeds_fit_no_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_output(tmp_path)
    for seed in range(2):
        hops = {h: 0.1 * h + 0.01 * seed for h in (2, 3, 4, 5)}
        write_run(tmp_path, f"r{seed}", config("multihop", 1, seed), accuracies(1, hops, 0.1))
    monkeypatch.setenv("COLUMNS", "80")
    print_table(tmp_path)
    shown = capsys.readouterr().out
    assert "arm" in shown and "steps" in shown and shown.count("0/2") == 4


def test_parts_of_one_name_go_by_their_grids(tmp_path: Path) -> None:
    out = write_toy(tmp_path / "runs", seeds=1)
    alone = [t.title for t in tables(load_runs(out, "toy"), load_curves(out, "toy"))]
    assert not any("toy" in title for title in alone)
    twin = [{"run_id": "functions-1x1-0", "part": "functions", "labels": {}}]
    record_grid(out, "twin", title="", figures=[], points=twin)
    titles = [t.title for t in tables(load_runs(out), load_curves(out))]
    assert len(set(titles)) == len(titles)
    assert {"toy, functions: accuracy on held-out questions"} < set(titles)
    assert {"twin, functions: accuracy on held-out questions"} < set(titles)


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize(("n", "told"), [(99, True), (100, False)])
def test_few_questions_are_owned_up_to(tmp_path: Path, seeds: int, n: int, told: bool) -> None:
    prepare_output(tmp_path)
    for seed in range(seeds):
        rows = accuracies(1, {1: 1.0, 2: 0.5, 3: 0.5}, 0.1)
        sizes = {1: 7, 2: n + seed, 3: 2048}
        rows = [{**r, "n_items": sizes[r["difficulty"]]} for r in rows]
        lines = [{"step": 500, "measurements": rows}]
        run = config("multihop", 1, seed)
        write_run(tmp_path, f"r{seed}", run, rows, metrics=lines)
    for table in tables(load_runs(tmp_path), load_curves(tmp_path)):
        assert any(f"{n} of 2 hops." in note for note in table.notes) == told
        assert not any("of 1 hop" in note or "of 3 hops" in note for note in table.notes)
    by = accuracy_table("", load_runs(tmp_path), ["width"])
    assert by is not None and any("Few questions" in note for note in by.notes) == told


def test_emergence_says_whose_median_it_is(tmp_path: Path) -> None:
    out = write_toy(tmp_path / "runs", seeds=2)
    table = emergence_table("t", last_loop(load_curves(out, "toy")))
    assert table is not None and "median of seeds that do" in table.title
    assert "k/n" in " ".join(table.notes)


def of_people(value: float, exposures: float) -> list[dict[str, Any]]:
    rows = bits(1, value, ceiling=40.0)
    return [{**r, "component": "junk", "exposures": exposures} for r in rows]


def test_people_never_shown_have_no_bits(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    measured = {"unseen": (-68.3, 0.0), "hardly": (-0.9, 7.0), "known": (0.5, 0.0)}
    for i, (name, (value, exposures)) in enumerate(measured.items()):
        run = config("bios", 1, 0, lr=1e-3 * (i + 1))
        write_run(tmp_path, name, run, of_people(value, exposures))
    labels = [{"run_id": name, "part": "", "labels": {"arm": name}} for name in measured]
    record_grid(tmp_path, "g", title="", figures=[], points=labels)
    (table,) = tables(load_runs(tmp_path), load_curves(tmp_path))
    at = [table.columns.index(c) for c in ("bits/param", "names", "values", "R/R_max")]
    cells = {row[0]: [row[i] for i in at] for row in table.rows}
    assert cells["unseen"] == ["not shown", "–", "–", "–"]
    assert cells["hardly"] == ["-0.90", "-0.27", "-0.63", "-2%"], "never clipped"
    assert cells["known"][0] == "0.50", "known from the run it started from"
    assert BELOW_NOTHING in table.notes


#: rule -> (accuracy, mean loops) at two hops; at three hops a loop more
RULES = {
    "all": (1.0, 4.0),
    "static loop=2": (0.6, 2.0),
    "static loop=3": (0.995, 3.0),
    "static loop=4": (1.0, 4.0),
    "quantile q=0.5": (0.98, 1.5),
    "quantile q=0.9": (0.7, 1.9),
    "entropy nats=1": (0.992, 2.2),
    "entropy nats=0.1": (1.0, 2.9),
}


def exits(loops: int, seed: int) -> list[dict[str, Any]]:
    rows = []
    for hops in (2, 3):
        shared = {"split": "test", "difficulty": hops, "n_items": 500}
        rows.append({"metric": "exit_loops", "item": "gate", "value": 2.5 + seed, **shared})
        for item, (accuracy, mean) in RULES.items():
            right = {"metric": "exit_accuracy", "value": accuracy, "item": item}
            used = {"metric": "exit_loops", "value": mean + (hops == 3), "item": item}
            rows += [{**right, **shared}, {**used, **shared}]
    return rows


@pytest.mark.parametrize("seeds", [1, 2])
def test_exits_are_shown_at_the_cheapest_harmless_threshold(tmp_path: Path, seeds: int) -> None:
    prepare_output(tmp_path)
    for seed in range(seeds):
        for loops in (1, 4):
            run = config("multihop", loops, seed)
            write_run(tmp_path, f"r{loops}-{seed}", run, exits(loops, seed))
    (table,) = tables(load_runs(tmp_path), load_curves(tmp_path))
    assert table.columns == ("arm", "seeds", "2 hops", "loops, 2 hops", "3 hops", "loops, 3 hops")
    cells = {row[0]: [cell.split()[0] for cell in row[1:]] for row in table.rows}
    assert cells == {
        "1⊗4, gate": [str(seeds), "–", f"{2 + seeds / 2:.2f}", "–", f"{2 + seeds / 2:.2f}"],
        "1⊗4, all loops": [str(seeds), "1.000", "4.00", "1.000", "5.00"],
        "1⊗4, static loop=3": [str(seeds), "0.995", "3.00", "0.995", "4.00"],
        "1⊗4, quantile q=0.5": [str(seeds), "0.980", "1.50", "0.980", "2.50"],
        "1⊗4, entropy nats=1": [str(seeds), "0.992", "2.20", "0.992", "3.20"],
    }, "the loopless has nowhere to leave; no quantile is harmless: its most accurate"
    assert NOTE in table.notes
    (by,) = tables(load_runs(tmp_path), load_curves(tmp_path), ["width"])
    assert by.columns[:2] == ("width", "rule") and len(by.rows) == 5


def test_accuracy_on_training_questions_stands_beside_what_is_held_out(tmp_path: Path) -> None:
    """Three seeds of 1⊗1 fit a third of their questions; of 1⊗2 nobody measured it."""
    prepare_output(tmp_path)
    for loops, held_out in ((1, (0.1, 0.1, 0.1)), (2, (1.0, 0.08, 1.0))):
        for seed, value in enumerate(held_out):
            rows = accuracies(loops, {1: 1.0, 2: value}, 0.1)
            fitted = accuracies(loops, {2: 0.3 + 0.02 * seed}, 0.1)
            rows += [{**r, "split": "train"} for r in fitted if loops == 1]
            write_run(tmp_path, f"r{loops}-{seed}", config("multihop", loops, seed), rows)
    table = accuracy_table("", last_loop(load_runs(tmp_path)))
    assert table is not None
    assert table.columns[-3:] == ("1 hop, seen", "2 hops", "train, 2 hops")
    cells = {row[0]: row[-3:] for row in table.rows}
    assert cells["1⊗1"][2] == "0.32" and cells["1⊗2"][2] == "absent"
    assert cells["floor"] == ("0.100", "0.100", "")
    low, high = bounded_summary([1.0, 0.08, 1.0])[1:3]
    shown = f"0.693 {low:.2f}–{high:.2f} 2/3".replace(" 0.", " .", 1).replace("–0.", "–.")
    assert cells["1⊗2"][1] == shown and "1.32" not in shown
    assert any("train: mean on the training questions" in note for note in table.notes)
    assert "±" not in drawn(table, 100)


def test_intervals_of_bits_end_where_bits_end(tmp_path: Path) -> None:
    """Two seeds of 1⊗1 with a t interval from -1.3 to 5.0; two of 1⊗2 that are equal."""
    prepare_output(tmp_path)
    for loops, values in ((1, (1.6, 2.1)), (2, (1.7, 1.7))):
        for seed, value in enumerate(values):
            rows = bits(loops, value, ceiling=2.73)
            write_run(tmp_path, f"r{loops}-{seed}", config("bios", loops, seed), rows)
    (table,) = tables(load_runs(tmp_path), load_curves(tmp_path))
    at = table.columns.index("bits/param")
    cells = {row[0]: row[at] for row in table.rows}
    assert cells["1⊗1"] == "1.85 0.00–2.73"
    low, high = bounded_summary([1.7, 1.7], (0.0, 2.73))[1:3]
    assert cells["1⊗2"] == f"1.70 {low:.2f}–{high:.2f}" and high - low > 1
    assert isinstance(cells["1⊗2"], NumberText) and cells["1⊗2"].value == pytest.approx(1.7)


def test_every_number_of_a_table_carries_its_value(tmp_path: Path) -> None:
    """Sorting goes by what was measured and not by what is printed of it."""
    out = write_toy(tmp_path / "runs", seeds=2)
    runs = load_runs(out, "toy")
    for table in tables(runs, load_curves(out, "toy")):
        for row in table.rows:
            numbers = [cell for cell in row[1:] if cell not in ("", "–")]
            assert all(isinstance(cell, NumberText) for cell in numbers), row
    stored = next(t for t in tables(runs, load_curves(out, "toy")) if "bits stored" in t.title)
    first = runs[(runs.metric == "bits_per_parameter") & (runs["item"] == "total")]
    cell = stored.rows[0][stored.columns.index("bits/param")]
    assert isinstance(cell, NumberText)
    assert cell.value == pytest.approx(first[first.n_loops == 1]["value"].mean())


@pytest.mark.parametrize(
    ("metric", "ceiling", "values", "bounds"),
    [
        ("accuracy", None, (0.1, 0.9), (0.0, 1.0)),
        ("lens_accuracy", 1.0, (0.1, 0.9), (0.0, 1.0)),
        ("exit_probability", None, (0.1, 0.9), (0.0, 1.0)),
        ("probe_selectivity", 1.0, (-0.1, 0.9), (-inf, inf)),
        ("bits_per_parameter", 2.7, (0.1, 0.9), (0.0, 2.7)),
        ("bits_per_parameter", 1.0, (0.1, 0.9), (0.0, 1.0)),
        ("bits_per_parameter", 2.7, (-0.9, 0.9), (-inf, 2.7)),
        ("bits_per_parameter", None, (0.1, 0.9), (0.0, inf)),
        ("exit_loops", 4.0, (1.5, 3.0), (1.0, 4.0)),
        ("loss", None, (0.1, 0.9), (-inf, inf)),
    ],
)
def test_bounds_of_what_is_measured(
    metric: str, ceiling: float | None, values: tuple[float, ...], bounds: tuple[float, float]
) -> None:
    rows = pd.DataFrame({"metric": metric, "value": values, "ceiling": ceiling, "n_loops": 4})
    rows = rows.astype({"ceiling": float})
    assert bounds_of(rows) == bounds
    assert are_shares(rows) == (bounds == (0.0, 1.0) and not metric.startswith("bits"))


def test_the_table_says_which_parameters_are_counted(tmp_path: Path) -> None:
    """With words that never occur, without them, and what was measured before this was told."""
    prepare_output(tmp_path)
    told = [None, 10_000, 9_000]
    for i, counted in enumerate(told):
        rows = bits(1, 2.0)
        if counted:
            rows.append(
                {"metric": "counted_parameters", "item": "", "value": counted, "n_items": 5}
            )
        write_run(tmp_path, f"run{i}", config("bios", 1, 0, lr=1e-3 * (i + 1)), rows, exposures=9)

    def shown(*runs: int) -> tuple[dict[str, str], tuple[str, ...]]:
        labels = [{"run_id": f"run{i}", "part": "", "labels": {"arm": f"{i}"}} for i in runs]
        name = "of" + "".join(map(str, runs))
        record_grid(tmp_path, name, title="", figures=[], points=labels)
        every = load_runs(tmp_path)
        (table,) = tables(every[every["grid"] == name], load_curves(tmp_path))
        at = table.columns.index("P") if "P" in table.columns else None
        return {row[0]: row[at] for row in table.rows if at}, table.notes

    every, notes = shown(0, 1, 2)
    assert every == {"0": "10k", "1": "10k", "2": "9k"}
    assert WITHOUT_ROWS in notes and EVERY_ROW in notes
    assert shown(0)[0] == {} and EVERY_ROW in shown(0)[1] and WITHOUT_ROWS not in shown(0)[1]
    assert shown(1)[0] == {} and not {EVERY_ROW, WITHOUT_ROWS} & set(shown(1)[1])
    assert shown(2)[0] == {"2": "9k"} and EVERY_ROW not in shown(2)[1]


@pytest.mark.parametrize(
    "name",
    [
        *("quick", "ladder.zip", "saturation.zip"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("headline", "load.zip")),
    ],
)
def test_tables_fit_80_columns_and_say_how_to_see_the_rest(name: str) -> None:
    out = Path(__file__).parents[4] / "experiments" / "reference" / name
    results, narrow, whole = read_results(out), io.StringIO(), io.StringIO()
    print_table(results, console=Console(file=narrow, width=80, color_system=None), wide=False)
    print_table(results, console=Console(file=whole, width=80, color_system=None))
    shown = narrow.getvalue()
    tables_shown = [line for line in shown.splitlines() if "⊗" in line or "─" in line]
    assert tables_shown and max(len(line.rstrip()) for line in tables_shown) <= 80
    assert "More columns with --wide: " in " ".join(shown.split())
    assert "--wide" not in whole.getvalue()
    assert max(map(len, whole.getvalue().splitlines())) > 80, "or nothing would be left out"


def test_spare_columns_go_one_by_one() -> None:
    table = TextTable("T", ("arm", "a", "b", "c"), (("1⊗1", "x" * 10, "y" * 10, "z"),))
    assert table.within(10) is table, "none is spare"
    table = replace(table, spare=("b", "a"))
    assert table.within(80) is table
    assert table.within(24).columns == ("arm", "a", "c")
    assert table.within(24).rows == (("1⊗1", "x" * 10, "z"),)
    assert table.within(9).columns == ("arm", "c")
    assert table.within(9).notes == ("More columns with --wide: b, a.",)


def test_executed_flops_are_shown_where_they_are_not_the_nominal_ones(tmp_path: Path) -> None:
    """Not of runs that came before they were counted, nor where hardly any are left out."""
    prepare_output(tmp_path)
    for loops in (1, 2):
        rows = accuracies(loops, {2: 1.0}, 0.1)
        write_run(tmp_path, f"r{loops}", config("multihop", loops, 0), rows)
    runs = last_loop(load_runs(tmp_path))
    for executed, shown in (
        ([None, None], None),
        ([0.98e12, 1.99e12], None),
        ([0.34e12, 1.4e12], {"1⊗1": "340G", "1⊗2": "1.4T"}),
        ([None, 1.4e12], {"1⊗1": "–", "1⊗2": "1.4T"}),
    ):
        told = runs["n_loops"].map(dict(zip((1, 2), executed, strict=True)))
        table = accuracy_table("", runs.assign(executed_flops=told.astype("float64")))
        assert table is not None and "FLOPs" in table.columns
        at = table.columns.index("executed") if "executed" in table.columns else None
        assert (at and {row[0]: row[at] for row in table.rows[:2]}) == shown
