"""The long table, curves and printed tables, on folders written as the runner writes them."""

import io
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from rich.console import Console
from synthetic_results import LOOPS, accuracies, bits, config, write_run, write_toy

from experiments.analysis.tables.abilities import ONE_SEED
from experiments.analysis.tables.tables import markdown_table, print_table, tables
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.results.long_table import COLUMNS, emergence_step, load_curves, load_runs
from experiments.results.selection import last_loop, over_seeds, varying, where
from experiments.runs.folder import RunFolder
from experiments.runs.output import prepare_output, record_grid
from experiments.text import number
from models.config import LoopedConfig

#: the columns that the design promises, in its order
PROMISED = ["run_id", "grid", "task", "component", "split", "item", "difficulty", "loop", "metric"]
PROMISED += ["value", "floor", "ceiling", "low", "high", "n_items", "k", "n_loops", "layers"]
PROMISED += ["width", "objective", "parameters", "train_flops", "seed", "lr", "exposures", "step"]
PROMISED += ["status", "converged"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "runs", seeds=2)


def test_columns_and_types(out: Path) -> None:
    runs = load_runs(out, "toy")
    assert [c for c in runs if c in PROMISED] == PROMISED
    assert list(runs)[: len(COLUMNS)] == list(COLUMNS)
    assert list(runs)[len(COLUMNS) :] == ["model.loops"], "seed has its column already"
    empty = load_runs(write_toy(out.parent / "none", seeds=0), "toy")
    assert empty.empty and list(empty)[: len(COLUMNS)] == list(COLUMNS)
    assert (empty.dtypes == runs.dtypes[empty.columns]).all()


def test_a_row_holds_what_was_written(out: Path) -> None:
    rows = where(load_runs(out, "toy"), run_id="capacity-1x2-0", item="name")
    assert len(rows) == 1
    row = rows.iloc[0]
    assert (row["k"], row["n_loops"], row["layers"], row["width"]) == (1, 2, 1, 32)
    assert (row["arm"], row["part"], row["task"], row["status"]) == (
        "1⊗2",
        "capacity",
        "bios",
        "done",
    )
    assert (row["parameters"], row["embedding_share"]) == (10_000, pytest.approx(0.4))
    assert (row["exposures"], row["step"], row["train_flops"]) == (100, 1000, 2e12)
    assert pd.isna(row["difficulty"]) and row["ceiling"] == pytest.approx(0.9)


def test_columns_agree_with_a_real_config(tmp_path: Path) -> None:
    """Frozen configs are read without validation; the numbers must be those of the objects."""
    run = RunConfig.model_validate(
        {
            "task": {"kind": "multihop", "entities": 8, "relations": 4},
            "model": {"core": 2, "loops": 3, "prelude": 1, "coda": 1, "kind": "looped"},
            "training": {"lr": 0.01, "phases": [{"until_step": 10}]},
        }
    )
    prepare_output(tmp_path)
    write_run(tmp_path, run.run_id, run.model_dump(mode="json"), bits(3, 1.0))
    row = load_runs(tmp_path).iloc[0]
    model = run.model
    assert isinstance(model, LoopedConfig)
    assert (row["arm"], row["k"], row["n_loops"], row["layers"], row["width"]) == (
        model.label,
        model.core,
        model.loops,
        model.layers,
        model.width,
    )
    assert (row["lr"], row["objective"], row["grid"]) == (0.01, "last_loop", "")


def test_a_run_at_two_points_has_rows_for_each_and_counts_once(out: Path) -> None:
    point = {"run_id": "capacity-1x1-0", "part": "again", "labels": {"objective": "entropy"}}
    record_grid(out, "other", title="", figures=[], points=[point, {**point, "part": "twice"}])
    rows = where(load_runs(out), run_id="capacity-1x1-0", item="total")
    assert list(rows["grid"]) == ["other", "other", "toy"]
    assert list(rows["objective"]) == ["entropy", "entropy", "last_loop"], "what the point asked"
    assert over_seeds(rows, ["metric"])["n"].tolist() == [1]


def test_runs_outside_grids_are_there(out: Path) -> None:
    write_run(out, "loose", config("bios", 1, 7), bits(1, 1.0))
    assert set(where(load_runs(out), run_id="loose")["grid"]) == {""}
    assert "loose" not in set(load_runs(out, "toy")["run_id"])


def test_unfinished_runs_have_status_reason_and_no_value(out: Path) -> None:
    failed = write_run(out, "broken", config("multihop", 4, 5))
    failed.fail("the loss is nan at step 120")
    points = [
        {"run_id": "broken", "part": "functions", "labels": {}},
        {"run_id": "never-begun", "part": "functions", "labels": {"model.loops": "8"}},
    ]
    record_grid(out, "bad", title="", figures=[], points=points)
    rows = load_runs(out, "bad").set_index("run_id")
    assert list(rows["status"]) == ["failed", "missing"]
    assert rows.loc["broken", "reason"] == "the loss is nan at step 120"
    assert rows.loc["broken", "arm"] == "1⊗4" and rows["value"].isna().all()
    assert rows.loc["never-begun", "model.loops"] == "8"


def test_a_damaged_result_is_not_done(out: Path) -> None:
    (out / "capacity-1x1-0" / "result.json").write_text('{"run_id": "capacity-1x1-0", "meas')
    rows = where(load_runs(out), run_id="capacity-1x1-0")
    assert len(rows) == 1 and rows["status"].iloc[0] != "done" and rows["value"].isna().all()


@pytest.mark.parametrize(
    ("longer", "exposures", "wanted"),
    [(1.52, 200, True), (1.54, 200, False), (1.52, 400, None), (1.46, 200, False)],
)
def test_converged_needs_the_doubled_pair(
    tmp_path: Path, longer: float, exposures: int, wanted: bool | None
) -> None:
    prepare_output(tmp_path)
    short = config("bios", 2, 0, phases=[{"until_exposure": 100, "decay": "linear"}])
    twin = config("bios", 2, 0, phases=[{"until_exposure": exposures, "decay": "linear"}])
    write_run(tmp_path, "short", short, bits(2, 1.5), exposures=100)
    write_run(tmp_path, "twin", twin, bits(2, longer), exposures=exposures)
    found = load_runs(tmp_path).groupby("run_id")["converged"].first()
    assert found["short"] is pd.NA if wanted is None else found["short"] == wanted
    assert found["twin"] is pd.NA


@pytest.mark.parametrize("change", [{"lr": 2e-3}, {"batch": 7}])
def test_a_pair_that_differs_otherwise_says_nothing(tmp_path: Path, change: dict) -> None:
    prepare_output(tmp_path)
    first = config("bios", 1, 0, phases=[{"until_exposure": 100}])
    other = config("bios", 1, 0, phases=[{"until_exposure": 200}], **change)
    write_run(tmp_path, "a", first, bits(1, 1.5), exposures=100)
    write_run(tmp_path, "b", other, bits(1, 1.5), exposures=200)
    assert load_runs(tmp_path)["converged"].isna().all()


def test_curves_and_emergence(out: Path) -> None:
    curves = last_loop(load_curves(out, "toy"))
    one = where(curves, run_id="functions-1x4-0", metric="accuracy", difficulty=2)
    assert one["step"].tolist() == [250, 500, 750, 1000]
    assert one["value"].tolist() == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert emergence_step(one.sample(frac=1, random_state=0), 0.7) == 750
    assert emergence_step(one, 1.1) is None
    assert where(curves, metric="loss", run_id="functions-1x4-0")["value"].tolist() == [3.0]


def test_last_loop_reads_the_trained_depth(out: Path) -> None:
    runs = where(load_runs(out, "toy"), metric="accuracy", part="functions")
    assert runs["loop"].nunique() > 1, "earlier loops are in the table"
    last = last_loop(runs)
    assert (last["loop"] == last["n_loops"]).all()
    assert set(last["n_loops"]) == set(LOOPS)


def test_unknown_grid_folder_and_column_are_named(out: Path, tmp_path: Path) -> None:
    with pytest.raises(LoopscopeError, match="no results of a grid 'tyo'; it has toy"):
        load_runs(out, "tyo")
    with pytest.raises(LoopscopeError, match="no folder"):
        load_runs(tmp_path / "nowhere")
    with pytest.raises(LoopscopeError, match="no column 'metrik'; they have run_id"):
        where(load_runs(out), metrik="accuracy")


def test_varying_names_the_fewest_columns() -> None:
    rows = pd.DataFrame(
        {
            "arm": ["a", "a", "b", "b"],
            "lr": [1, 1, 2, 2],
            "width": [8, 16, 8, 16],
            "cell": list("wxyz"),
        }
    )
    assert varying(rows, ["arm"], ["lr", "width", "cell"]) == ["width"]
    assert varying(rows[::2], ["arm"], ["lr", "width"]) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (55_872, "55.9k"),
        (1.5e12, "1.5T"),
        (999_999, "1M"),
        (0.004, "0.004"),
        (100, "100"),
        (999, "999"),
        ("x", "x"),
    ],
)
def test_numbers_are_short(value: object, text: str) -> None:
    assert number(value) == text


def printed(out: Path, grid: str) -> str:
    file = io.StringIO()
    print_table(out, grid, Console(file=file, width=100, color_system=None))
    return file.getvalue()


def test_a_narrow_terminal_loses_no_column(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    print_table(out, "toy")
    told = capsys.readouterr().out
    assert told.split() == printed(out, "toy").split(), "notes may be broken elsewhere"
    heads = [line.rstrip() for line in printed(out, "toy").splitlines() if " arm " in line]
    assert heads and all(head in told for head in heads)


def test_emergence_has_a_row_per_arm_and_objective() -> None:
    """The evaluated steps are no axis: they must not split an arm whose objective varies."""
    reference = Path(__file__).parents[3] / "experiments" / "reference" / "headline"
    runs, curves = load_runs(reference, "objectives"), load_curves(reference, "objectives")
    emergence = next(t for t in tables(runs, curves) if "reaches 0.9" in t.title)
    assert [row[0] for row in emergence.rows] == [
        f"1⊗{n}, {objective}" for n in (1, 2, 4) for objective in ("last_loop", "entropy beta=0.1")
    ]


def test_tables_say_value_floor_seeds_and_interval(out: Path) -> None:
    text = printed(out, "toy")
    assert max(map(len, text.splitlines())) <= 100
    by_title = {t.title: t for t in tables(load_runs(out, "toy"), load_curves(out, "toy"))}
    assert list(by_title) == [
        "capacity: bits stored per parameter",
        "functions: accuracy on held-out questions",
        "functions: step at which held-out accuracy reaches 0.9, median of seeds that do",
        "permutations: accuracy on held-out questions",
        "permutations: step at which held-out accuracy reaches 0.9, median of seeds that do",
    ]
    functions = by_title["functions: accuracy on held-out questions"]
    assert functions.columns[-5:] == (
        *("1 hop, seen", "2 hops", "train, 2 hops"),
        *("3 hops", "train, 3 hops"),
    )
    assert [row[0] for row in functions.rows] == ["1⊗1", "1⊗2", "1⊗4", "floor"]
    assert functions.rows[-1][-4:] == ("0.200", "", "0.200", "")
    assert functions.rows[2][-4:-2] == ("1.000 .16–1 2/2", "absent"), ".16² is .025"
    runs = last_loop(load_runs(out, "toy"))
    three = where(runs, part="functions", split="test", difficulty=3, n_loops=2)
    wanted = over_seeds(three, ["metric"]).iloc[0]
    low, high = (f"{end:.2f}".removeprefix("0") for end in (wanted["low"], wanted["high"]))
    assert functions.rows[1][-2] == f"{wanted['mean']:.3f} {low}–{high} 0/2"
    assert 0 < wanted["low"] < wanted["mean"] < wanted["high"] < 1
    assert ONE_SEED not in text


def test_emergence_is_told_with_how_many_seeds_reach_it(out: Path) -> None:
    found = tables(load_runs(out, "toy"), load_curves(out, "toy"))
    (table,) = (t for t in found if t.title.startswith("functions: step"))
    assert table.columns == ("arm", "seeds", "2 hops", "3 hops")
    assert table.rows[-1] == ("1⊗4", "2", "1k 2/2", "never 0/2")
    assert table.rows[0] == ("1⊗1", "2", "never 0/2", "never 0/2")


def test_one_seed_is_called_a_demonstration(tmp_path: Path) -> None:
    text = printed(write_toy(tmp_path / "runs", seeds=1), "toy")
    assert text.count(ONE_SEED) == 5 and "95 %" not in text


def test_failed_runs_are_listed_with_their_reason(out: Path) -> None:
    (out / "functions-1x1-0" / "result.json").unlink()
    RunFolder(out / "functions-1x1-0").fail("[Errno 28] no space\n| at step 3")
    text = printed(out, "toy")
    assert "Not done: 1 of 18 runs" in text and "functions-1x1-0" in text
    assert "[Errno 28] no space" in text, "brackets are not taken for markup"
    assert "| [Errno 28] no space \\| at step 3 |" in markdown_table(out, "toy")
    assert "Not done" not in printed(write_toy(out.parent / "whole", seeds=1), "toy")


def test_markdown_has_the_same_cells(out: Path) -> None:
    text = markdown_table(out, "toy")
    for table in tables(load_runs(out, "toy"), load_curves(out, "toy")):
        assert f"**{table.title}**" in text
        for row in table.rows:
            assert "| " + " | ".join(row) + " |" in text


def test_two_exposures_get_two_rows(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    for exposures in (100, 200):
        for width in (32, 48):
            run = config("bios", 1, 0, phases=[{"until_exposure": exposures}])
            run["model"]["width"] = width
            name = f"{exposures}-{width}"
            write_run(tmp_path, name, run, bits(1, exposures / 100), exposures=exposures)
    (table,) = tables(load_runs(tmp_path), load_curves(tmp_path))
    shown = {(row[0], row[5], row[6]) for row in table.rows}
    assert shown == {
        (f"1⊗1, width {w}", str(e), f"{e / 100:.2f}") for e in (100, 200) for w in (32, 48)
    }


def test_validation_is_shown_where_nothing_else_was_measured(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    rows = [{**r, "split": "validation"} for r in accuracies(2, {2: 0.8}, 0.1)]
    write_run(tmp_path, "a", config("multihop", 2, 0), rows)
    (table,) = tables(load_runs(tmp_path), load_curves(tmp_path))
    assert "validation questions" in table.title and table.rows[0][-2:] == ("0.800", "absent")


@pytest.mark.parametrize("text", ["{", '{"model": 3, "task": []}'])
def test_a_damaged_config_costs_no_other_run_its_rows(out: Path, text: str) -> None:
    before = load_runs(out)
    damaged = before.run_id[0]
    (out / damaged / "config.json").write_text(text)
    after = load_runs(out)
    (row,) = after[after.run_id == damaged].to_dict("records")
    assert (row["status"], row["task"]) == ("damaged", "") and "config.json" in row["reason"]
    others = before[before.run_id != damaged]
    found = after[after.run_id != damaged]
    assert_frame_equal(found.reset_index(drop=True), others.reset_index(drop=True))
    assert "" not in set(after.task[after.run_id != damaged])


@pytest.mark.parametrize(
    "text", ["{", '{"points": 3}', '{"points": [{}]}', '{"points": [{"run_id": "a", "part": ""}]}']
)
def test_a_damaged_record_of_a_grid_is_named(out: Path, text: str) -> None:
    (out / "grids" / "toy.json").write_text(text)
    for grid in ("toy", None):
        with pytest.raises(LoopscopeError, match=r"toy\.json is damaged; `loopscope run`"):
            load_runs(out, grid)


def test_a_class_from_a_file_goes_by_its_own_name(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "a", config("lab/mine.py:ShellGame", 1, 0), bits(1, 0.5))
    assert set(load_runs(tmp_path)["task"]) == {"lab/mine.py:ShellGame"}, "all that is known"
    folder.write_result({**folder.result(), "task": "shell-game"})
    assert set(load_runs(tmp_path)["task"]) == {"shell-game"}


def test_convergence_is_read_from_the_last_loop(tmp_path: Path) -> None:
    """The first loop of the longer run has much more than that of the shorter."""
    prepare_output(tmp_path)
    for exposures, first in ((100, 0.5), (200, 1.0)):
        run = config("bios", 2, 0, phases=[{"until_exposure": exposures}])
        rows = [*bits(1, first), *bits(2, 1.5)]
        write_run(tmp_path, str(exposures), run, rows, exposures=exposures)
    found = load_runs(tmp_path).groupby("run_id")["converged"].first()
    assert bool(found["100"])
