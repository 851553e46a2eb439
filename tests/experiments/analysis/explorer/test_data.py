"""What the explorer's page holds: every number is that of the long table, every config its own."""

import base64
import json
import math
import re
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from many_runs import many
from synthetic_results import config, write_mixed, write_run, write_toy
from typer.testing import CliRunner

from experiments.analysis.explorer.data import explorer_data, one_run_grid, repeated, rounded
from experiments.analysis.explorer.page import explorer_page, write_explorer
from experiments.analysis.report.grids import Shipped
from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.grid.grid import load_grid
from experiments.notebook.explorer import explore
from experiments.results.archive import write_archive
from experiments.results.long_table import load_curves, load_runs, read_results
from experiments.runs.output import prepare_output


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixed(tmp_path_factory.mktemp("explorer") / "runs")


def data_of(page: str) -> dict[str, Any]:
    """What the script of a page unpacks."""
    (text,) = re.findall(r'id="data">([^<]*)</script>', page)
    return json.loads(zlib.decompress(base64.b64decode(text)))


def table_of(data: dict[str, Any]) -> pd.DataFrame:
    """The long table again, from the data of a page."""
    rows = pd.DataFrame(
        {
            "run_id": [data["runs"][place] for place in data["place"]],
            "quantity": [data["quantities"][quantity] for quantity in data["quantity"]],
            **{name: data[name] for name in ("loop", "value", "floor")},
            "difficulty": data["difficulty_of"],
        }
    )
    return rows


def test_every_measured_number_is_there_once(out: Path) -> None:
    runs = load_runs(out)
    found = table_of(explorer_data(read_results(out)))
    measured = runs[runs["value"].notna()]
    # the gate of a training batch is all that is added, of the run that logged one
    added = found[found["quantity"] == "exit_probability, train"]
    assert added[["run_id", "loop", "value"]].values.tolist() == [["loose", 1, 0.5]]
    assert len(found) - 1 == len(measured) > 50
    for row in measured.sample(40, random_state=0).itertuples():
        said = ", ".join(filter(None, (row.component, row.metric, row.split, row.item)))
        same = found[(found["run_id"] == row.run_id) & (found["quantity"] == said)]
        for column in ("difficulty", "loop"):
            value = getattr(row, column)
            same = same[same[column].isna() if pd.isna(value) else same[column] == value]
        (one,) = same.to_dict("records")
        assert one["value"] == pytest.approx(row.value, rel=1e-4)
        assert one["floor"] == pytest.approx(row.floor, rel=1e-4)


def test_facts_are_the_columns_of_each_run(out: Path) -> None:
    data, runs = explorer_data(read_results(out)), load_runs(out)
    firsts = runs.drop_duplicates(["run_id", "grid", "part"])
    assert data["runs"] == firsts["run_id"].tolist()
    facts = {fact["name"]: fact for fact in data["facts"]}
    assert {"arm", "seed", "task", "status", "model.loops", "train_flops"} <= facts.keys()
    assert "code" not in facts, "a column that says nothing is left out"
    for name, fact in facts.items():
        words = fact.get("words")
        for told, value in zip(fact["values"], firsts[name], strict=True):
            if words is None:
                assert (told is None) == bool(pd.isna(value))
                assert told is None or told == pytest.approx(float(value), rel=1e-4)
            else:
                missing = pd.isna(value) or value == ""
                assert (None if missing else str(value)) == (None if told is None else words[told])
    failed = data["runs"].index("failed")
    assert data["reasons"][failed] == "the loss is nan\nat step 120"


def test_curves_are_those_of_the_last_loop_with_few_points(out: Path) -> None:
    data, curves = explorer_data(read_results(out)), load_curves(out)
    place = data["runs"].index("functions-1x4-0")
    found = {tuple(data["curve_names"][name]): (data["steps"][steps], values)
             for name, steps, values in data["curves"][place]}  # fmt: skip
    assert found.keys() == {("loss", "train", None), ("accuracy", "test", 2),
                            ("accuracy", "test", 3)}  # fmt: skip
    steps, values = found["accuracy", "test", 3]
    wanted = curves.query("run_id == 'functions-1x4-0' and difficulty == 3 and loop == 4")
    assert steps == wanted["step"].tolist() == [250, 500, 750, 1000]
    assert values == pytest.approx(wanted["value"].tolist(), rel=1e-4)


def test_long_curves_keep_their_ends(tmp_path: Path) -> None:
    out = write_toy(tmp_path / "runs", seeds=1)
    results = read_results(out)
    one = results.curves[results.curves["metric"] == "loss"].iloc[:1]
    long = pd.concat([one.assign(step=step, value=1 / step) for step in range(1, 1204)])
    data = explorer_data(type(results)(results.runs, lambda: long, results.config))
    place = data["runs"].index(one["run_id"].item())
    ((_, steps, values),) = data["curves"][place]
    assert len(values) == len(data["steps"][steps]) <= 51
    assert data["steps"][steps][0] == 1 and data["steps"][steps][-1] == 1203
    assert values[-1] == pytest.approx(1 / 1203, rel=1e-4)


@pytest.mark.parametrize("name", ["quick", "headline", "inside"])
def test_the_grid_of_one_run_is_that_run(tmp_path: Path, name: str) -> None:
    """The text of the page is a grid file whose only run has the id of what it was made of."""
    data = explorer_data(read_results(f"reference:{name}"))
    chosen = list(dict(zip(data["runs"], data["config"], strict=True)).items())
    for run_id, (text, seed) in chosen[:: max(1, len(chosen) // 5)]:
        path = tmp_path / f"{run_id}.yaml"
        path.write_text(one_run_grid(data["configs"][text], seed), encoding="utf-8")
        assert list(load_grid(path).runs) == [run_id]


def test_what_a_stored_config_did_not_know_is_said() -> None:
    stored = {
        "schema_version": 1,
        "task": {"kind": "multihop", "hops": 2},
        "seed": 3,
        "start": None,
    }
    said = {"task": {"hold_out": "questions", "kind": "multihop", "hops": 2}, "seed": 3}
    assert repeated(stored) == said
    now = {"task": {"kind": "multihop", "hold_out": "strings"}}
    assert repeated(now)["task"]["hold_out"] == "strings"
    mixture = {"task": {"kind": "mixture", "components": [{"task": {"kind": "multihop"}}]}}
    assert repeated(mixture)["task"]["components"][0]["task"]["hold_out"] == "questions"


def test_seeds_share_the_text_of_their_config(out: Path) -> None:
    data = explorer_data(read_results(write_toy(out.parent / "seeds")))
    assert len(data["runs"]) == 27 and len(data["configs"]) == 6, "two tasks, three loops"
    assert {seed for _, seed in data["config"]} == {0, 1, 2}


def test_runs_that_all_failed_before_a_step_are_shown(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    write_run(tmp_path, "a", config("bios", 1, 0)).fail("no memory")
    results = read_results(tmp_path)
    assert results.curves.empty
    data = explorer_data(results)
    assert (data["runs"], data["reasons"]) == (["a"], ["no memory"])
    assert "loopscope" in explorer_page(results)


def test_commands_name_the_shipped_grid_or_its_file() -> None:
    results = read_results("reference:quick")
    assert results.source is not None
    record = results.source.grids["quick"] or {}
    out = "--out runs/quick"  # what comes along is read only
    known = explorer_data(results, shipped=lambda name: Shipped(record["source"], []))
    assert known["commands"] == {"quick": f"loopscope run quick {out}"}
    assert explorer_data(results)["commands"] == {"quick": f"loopscope run quick.yaml {out}"}


def test_numbers_that_are_none_are_null() -> None:
    assert rounded(None) is rounded(math.inf) is rounded(-math.inf) is rounded(math.nan) is None
    assert rounded(1e22) == 1e22 and rounded(-0.0) == 0 and rounded(123456.0) == 123460


def test_the_page_is_closed_to_hostile_names_and_the_same_twice(tmp_path: Path) -> None:
    out = write_toy(tmp_path / "runs", seeds=1)
    hostile = "</script><script>alert(1)</script>"
    results = read_results(out)
    runs = results.runs.assign(arm=hostile)
    runs.attrs = results.runs.attrs
    page = explorer_page(read_results(runs))
    assert page == explorer_page(read_results(runs))
    assert hostile not in page and page.count("<script") == 2
    assert hostile in {w for f in data_of(page)["facts"] for w in f.get("words", ())}
    assert not re.search(r"https?://|fetch\(|XMLHttpRequest|import\(|eval", page)
    assert "default-src 'none'" in page and "unsafe" not in page


def test_an_archive_and_rows_give_the_same_as_their_folder(tmp_path: Path) -> None:
    out = write_toy(tmp_path / "runs", seeds=1)
    archive = tmp_path / "toy.zip"
    write_archive(out, archive)
    whole, rows = read_results(out), load_runs(out)
    wanted = explorer_data(whole)
    found = explorer_data(read_results(archive))
    assert found.pop("commands") != wanted.pop("commands") and found == wanted
    assert explorer_data(read_results(rows))["config"] == wanted["config"]
    some = rows[rows["arm"] == "1⊗4"]
    assert len(explorer_data(read_results(some))["runs"]) == 3
    assert write_explorer(read_results(archive)) == tmp_path / "explore.html"


def test_rows_from_elsewhere_have_no_config_and_no_command() -> None:
    rows = load_runs("reference:quick").copy()
    rows.attrs = {}
    data = explorer_data(read_results(rows))
    assert set(data["config"]) == {None} and data["commands"] == {}


@pytest.mark.slow
def test_two_thousand_runs_are_a_small_page() -> None:
    results = many(2000)
    page = explorer_page(results)
    n = len(data_of(page)["runs"])
    assert n >= 2000
    assert len(page) < 2_000_000, f"{len(page) / n:.0f} bytes a run"


def test_the_command_writes_where_it_is_told_and_says_what_is_wrong(tmp_path: Path) -> None:
    out = write_toy(tmp_path / "runs", seeds=1)
    run = CliRunner().invoke
    found = run(app, ["explore", str(out), "--where", "arm=1x4", "--to", str(tmp_path / "p.html")])
    assert found.exit_code == 0 and found.output.strip() == str(tmp_path / "p.html")
    assert len(data_of((tmp_path / "p.html").read_text("utf-8"))["runs"]) == 3
    assert run(app, ["explore", str(out)]).output.strip() == str(out / "explore.html")
    prepare_output(tmp_path / "empty")
    for words, said in (
        (
            [str(out), "--to", str(tmp_path / "p.pdf")],
            r"needs the name of a file that ends in .html",
        ),
        ([str(out), "--to", str(tmp_path / "no" / "p.html")], r"is no folder; make it, or choose"),
        ([str(out), "--grid", "none"], r"has no results of a grid 'none'; it has toy"),
        ([str(out), "--where", "width>=1000"], r"has no runs|no runs"),
        ([str(tmp_path / "empty")], r"has no runs yet"),
        ([str(out), "--questions", "2"], r"has no run with weights and questions"),
        ([str(out), "--of", "functions"], r"no questions to put to them"),
        ([str(out), "--questions", "2", "--of", "nothing"], r"nothing"),
    ):
        error = run(app, ["explore", *words]).exception
        assert isinstance(error, LoopscopeError), words
        assert re.search(said, str(error)), str(error)


def test_questions_are_put_to_runs_with_weights() -> None:
    shown = explore("reference:inside", questions=2)
    assert shown.runs == 4 and "srcdoc=" in shown._repr_html_() and "4 runs" in repr(shown)
    traces = data_of(shown.page)["traces"]
    assert sorted(traces) == ["multihop-1x4-8bd381c27694", "multihop-1x4-a46efb2465c1"]
    for run, asked in traces.items():
        assert [one["difficulty"] for one in asked] == [2, 2, 3, 3]
        assert [len(one["steps"]) for one in asked] == [4] * 4
        assert [len(one["bridges"]) for one in asked] == [1, 1, 2, 2]
        # both of these runs solve everything at their last loop
        assert all(one["steps"][-1]["candidates"][0][0] == one["answer"] for one in asked)
        gate = [step["exit"] for step in asked[0]["steps"]]
        if run.endswith("8bd381c27694"):
            assert sum(gate) == pytest.approx(1, abs=1e-4)
        else:
            assert gate == [None] * 4
    one = explore("reference:inside", questions=1, of=["multihop-1x4-8bd"])
    assert list(data_of(one.page)["traces"]) == ["multihop-1x4-8bd381c27694"]
    rows = load_runs("reference:inside").assign()
    rows.attrs = {}
    with pytest.raises(LoopscopeError, match="a folder of runs with their weights"):
        explore(rows, questions=1)
    with pytest.raises(LoopscopeError, match="no weights|has no|checkpoint"):
        explore("reference:inside", questions=1, of=["multihop-1x1"])
