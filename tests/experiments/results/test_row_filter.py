"""The language of --where, against what pandas makes of the same question."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_results import bits, config, write_run, write_toy
from typer.testing import CliRunner

from experiments.analysis.tables.abilities import SEVERAL
from experiments.analysis.tables.tables import markdown_table, tables
from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.grid.expansion import label_of
from experiments.grid.located_yaml import parse_yaml
from experiments.results.long_table import load_curves, load_runs
from experiments.results.row_filter import Condition, chosen_runs, meaning, parse, select
from experiments.runs.output import prepare_output, record_grid

SIGNS = ("=", "!=", "<", "<=", ">", ">=")
NAMES = ("bios", "mano", "a, b", "k=1|2", " edge ", "")


def frame() -> pd.DataFrame:
    n = 48
    return pd.DataFrame(
        {
            "task": [NAMES[i % 5] for i in range(n)],
            "k": pd.array([1 + i % 3 for i in range(n)], "Int64"),
            "loop": pd.array([None if i % 4 == 0 else i % 4 for i in range(n)], "Int64"),
            "lr": [float("nan") if i % 7 == 0 else 10.0 ** -(i % 5) for i in range(n)],
            "model.loops": [str(2 ** (i % 4)) if i % 6 else "many" for i in range(n)],
        }
    ).astype({"task": "str", "model.loops": "str"})


ROWS = frame()
NUMBERS = st.sampled_from(["1", "2", "3", "0.01", "1e-3", "1.0", "-4", "2.5"])
NUMERIC = st.tuples(
    st.sampled_from(["k", "loop", "lr"]), st.sampled_from(SIGNS),
    NUMBERS.map(lambda v: [v]),
)  # fmt: skip
SEVERAL_OF = st.tuples(
    st.sampled_from(["k", "loop", "lr"]), st.sampled_from(["=", "!="]),
    st.lists(NUMBERS, min_size=1, max_size=3),
)  # fmt: skip
TEXT = st.tuples(
    st.just("task"), st.sampled_from(["=", "!="]),
    st.lists(st.sampled_from(NAMES[:5]), min_size=1, max_size=3),
)  # fmt: skip


def typed(column: str, sign: str, values: list[str], spaces: str) -> str:
    quoted = [f'"{v}"' if set(v) & set(",|") or v != v.strip() else v for v in values]
    return f"{spaces}{column}{spaces}{sign}{spaces}{f'{spaces}|{spaces}'.join(quoted)}{spaces}"


def asked_of_pandas(column: str, sign: str, values: list[str]) -> set[int]:
    """Row by row with a query of pandas that has one value and, for what is missing, an answer."""
    numeric = column != "task"
    found: set[int] = set()
    for value in values:
        known = ROWS.assign(**{column: ROWS[column].astype("float64")}) if numeric else ROWS
        wanted: Any = float(value) if numeric else value
        compare = "==" if sign in ("=", "!=") else sign
        found |= set(known.query(f"`{column}` {compare} {wanted!r}").index)
    return set(ROWS.index) - found if sign == "!=" else found


@settings(max_examples=80)
@given(
    conditions=st.lists(st.one_of(NUMERIC, SEVERAL_OF, TEXT), min_size=1, max_size=4),
    spaces=st.sampled_from(["", " "]),
    together=st.booleans(),
)
def test_rows_are_those_that_pandas_finds(
    conditions: list[tuple[str, str, list[str]]], spaces: str, together: bool
) -> None:
    texts = [typed(*c, spaces) for c in conditions]
    wanted = set(ROWS.index)
    for column, sign, values in conditions:
        wanted &= asked_of_pandas(column, sign, values)
    found = select(ROWS, parse([",".join(texts)] if together else texts))
    assert set(found.index) == wanted
    assert list(found.index) == sorted(found.index), "in their order"


def test_labels_that_are_numbers_have_an_order() -> None:
    labels = set(select(ROWS, parse(["model.loops>=4"]))["model.loops"])
    assert labels == {"4", "8"}, "what is no number has none"
    assert set(select(ROWS, parse(["model.loops=many|1"]))["model.loops"]) == {"many", "1"}


def test_missing_values_can_be_asked_for() -> None:
    assert select(ROWS, parse(["loop="])).index.tolist() == ROWS.index[ROWS["loop"].isna()].tolist()
    assert (
        len(select(ROWS, parse(["loop!=,lr!="])))
        == (ROWS["loop"].notna() & ROWS["lr"].notna()).sum()
    )
    assert len(select(ROWS, parse(["loop!=1"]))) == len(ROWS) - (ROWS["loop"] == 1).sum()


def test_large_seeds_are_compared_exactly() -> None:
    seeds = pd.DataFrame({"seed": pd.array([2**62, 2**62 + 1], "Int64")})
    assert select(seeds, parse([f"seed={2**62 + 1}"])).index.tolist() == [1]


def test_truth_is_true_or_false() -> None:
    rows = pd.DataFrame({"converged": pd.array([True, False, None], "boolean")})
    assert select(rows, parse(["converged=true"])).index.tolist() == [0]
    assert select(rows, parse(["converged!=True"])).index.tolist() == [1, 2]
    assert select(rows, parse(["converged=no"])).index.tolist() == [1]
    assert select(rows, parse(["converged="])).index.tolist() == [2]
    with pytest.raises(LoopscopeError, match="is true or false, not '1'"):
        select(rows, parse(["converged=1"]))


@pytest.mark.parametrize(
    ("label", "spellings"),
    [
        ("0.001", ["0.001", "1e-3", "1.0e-3", ".001", "1E-3"]),
        ("false", ["false", "no", "off", "False", "NO"]),
        ("true", ["true", "yes", "on"]),
        ("none", ["none", "null", "~", "Null"]),
        ("1000000", ["1000000", "1e6", "1_000_000"]),
        ("inf", ["inf", ".inf"]),
        ("[1, 2]", ["'[1, 2]'", "'[1,2]'", "'[1.0, 2]'"]),
    ],
)
def test_labels_are_found_by_every_spelling_of_a_grid_file(
    label: str, spellings: list[str]
) -> None:
    others = ["", "0", "1", "0.002", "other", "on purpose", "[2, 1]"]
    rows = pd.DataFrame({"training.clip": pd.array([*others, label], "str")})
    for spelling in spellings:
        assert select(rows, parse([f"training.clip={spelling}"])).index.tolist() == [len(others)]
        left = select(rows, parse([f"training.clip!={spelling}"])).index.tolist()
        assert left == list(range(len(others)))


def test_labels_are_those_that_a_grid_makes_of_its_values() -> None:
    for text in ("1e-3", "no", "yes", "null", "~", "3.0e+4", ".5", "[1, 2]", "0.1", "-0.0", ".inf"):
        value, _ = parse_yaml(text, "grid")
        assert meaning(label_of(value)) == meaning(text), text


def test_a_label_of_the_very_text_comes_before_one_that_means_the_same() -> None:
    rows = pd.DataFrame({"part": pd.array(["no", "false", "false"], "str"), "k": [1, 1, 2]})
    assert select(rows, parse(["part=no"])).index.tolist() == [0]
    assert select(rows, parse(["part=off"])).index.tolist() == [0, 1, 2], "it means both"
    assert select(rows, parse(["k=2,part=no"])).empty, "whatever was chosen before"


def test_fields_of_a_grid_are_columns_of_the_table() -> None:
    assert select(ROWS, parse(["training.lr=1e-3"])).index.tolist() == (
        select(ROWS, parse(["lr=0.001"])).index.tolist()
    )
    assert len(select(ROWS, parse(["model.core=2"]))) == (ROWS["k"] == 2).sum() > 0
    assert len(select(ROWS, parse(["model.loops=4"]))) == (ROWS["model.loops"] == "4").sum() > 0
    with pytest.raises(LoopscopeError, match="no column 'model.width'"):
        select(ROWS, parse(["model.width=4"]))


def test_arms_can_be_typed() -> None:
    assert parse(["arm=1x4|2⊗1"]) == [Condition("arm", "=", ("1⊗4", "2⊗1"))]
    assert parse(["part=1x4"]) == [Condition("part", "=", ("1x4",))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a column and one of"),
        ("k", "needs a column and one of"),
        ("=1", "needs a column and one of .* at '=1'"),
        ("k=1,", "needs a column and one of .* at its end"),
        ("k=1,,lr=2", "needs a column"),
        ("k<", "needs one number, for <"),
        ("k<1|2", "needs one number, for <"),
        ("k>=many", "needs one number, for >="),
        ("k<nan", "needs one number"),
        ("task='bios", "quotes closed"),
        ("task='bios'x", "needs a value"),
        ("wdith=64", "no column 'wdith'"),
        ("taks=bios", r"no column 'taks' \(did you mean 'task'\?\); they have task, k, loop"),
        ("k=one", "k is a number, not 'one'"),
        ("__import__('os').system('true')", "needs a column"),
        ("@k=1", "no column '@k'"),
    ],
)
def test_what_is_no_condition_is_a_message(text: str, message: str) -> None:
    with pytest.raises(LoopscopeError, match=message):
        select(ROWS, parse([text]))


@settings(max_examples=200)
@given(st.text(alphabet="ktaslor=!<>,|'\" 1.e⊗`@()\n", max_size=25))
def test_any_text_is_rows_or_a_message(text: str) -> None:
    try:
        found = select(ROWS, parse([text]))
    except LoopscopeError:
        return
    assert set(found.index) <= set(ROWS.index)


# --- in the results --------------------------------------------------------------------------


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "runs", seeds=2)


def test_a_run_without_numbers_is_not_left_out_for_them(out: Path) -> None:
    write_run(out, "unfinished", config("multihop", 4, 5))
    rows = select(load_runs(out), parse(["metric=accuracy,difficulty=2"]))
    assert set(rows["metric"]) == {"accuracy", ""}
    assert set(rows.loc[rows["metric"] == "", "run_id"]) == {"unfinished"}
    assert "unfinished" not in set(select(load_runs(out), parse(["n_loops<4"]))["run_id"])


def test_runs_are_not_chosen_by_what_was_measured(out: Path) -> None:
    rows = load_runs(out)
    chosen = chosen_runs(rows, parse(["task=bios,seed=1"]), "rm removes")
    assert chosen == ["capacity-1x1-1", "capacity-1x2-1", "capacity-1x4-1"]
    with pytest.raises(LoopscopeError, match="rm removes whole runs, and difficulty is"):
        chosen_runs(rows, parse(["difficulty=2"]), "rm removes")


def test_tables_are_of_the_rows_chosen(out: Path) -> None:
    text = markdown_table(out, "toy", where=["part=functions", "loop!=1,n_loops>1"])
    assert "functions: accuracy" in text and "capacity" not in text and "1⊗1" not in text
    whole = markdown_table(out, "toy")
    line = next(x for x in whole.splitlines() if x.startswith("| 1⊗4") and "2/2" in x)
    assert line in text, "the numbers are those of the whole table"
    with pytest.raises(LoopscopeError, match="has no rows with task=mano"):
        markdown_table(out, where=["task=mano"])


def test_rows_of_a_table_can_be_of_other_columns(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    points = []
    for width in (32, 48):
        for seed in (0, 1):
            run = config("bios", 1, seed, lr=width / 1000)
            run["model"]["width"] = width
            name = f"{width}-{seed}"
            write_run(tmp_path, name, run, bits(1, width / 16 + seed / 10), exposures=100)
            points.append({"run_id": name, "part": "", "labels": {}})
    record_grid(tmp_path, "g", title="", figures=[], points=points)
    frames = load_runs(tmp_path), load_curves(tmp_path)
    (table,) = tables(*frames, by=["lr", "width"])
    assert table.columns[:3] == ("lr", "width", "seeds") and SEVERAL not in table.notes
    shown = [(row[0], row[1], row[2], row[7].split(" ")[0]) for row in table.rows]
    assert shown == [("0.032", "32", "2", "2.05"), ("0.048", "48", "2", "3.05")]
    (table,) = tables(*frames, by=["task"])
    assert table.columns[:2] == ("task", "runs") and SEVERAL in table.notes
    assert table.rows[0][:2] == ("bios", "4")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "wdith"], "--by wdith: the results have no column 'wdith' (did you mean 'width'"),
        (["--by", "arm,loop"], "--by loop: rows are of runs"),
        (["--where", "wdith=3"], "no column 'wdith' (did you mean 'width'"),
    ],
)
def test_wrong_columns_are_named(out: Path, arguments: list[str], message: str) -> None:
    found = CliRunner().invoke(app, ["table", str(out), *arguments])
    assert isinstance(found.exception, LoopscopeError) and message in str(found.exception)


def test_the_command_says_what_it_read(out: Path) -> None:
    found = CliRunner().invoke(app, ["table", str(out), "--by", "n_loops", "--where", "k=1"])
    assert found.exit_code == 0 and "n_loops" in found.stdout
    assert found.stderr == f"{out}: 18 runs read from their folders\n"


def test_a_text_that_no_row_has_leaves_none() -> None:
    """Also after a condition that has left none, and where a value is missing."""
    rows = pd.DataFrame({"part": ["a", None, "1e-3"], "arm": ["x", "y", "z"]}).astype("str")
    assert list(select(rows, parse(["part=0.001"]))["arm"]) == ["z"]
    assert select(rows, parse(["arm=none"])).empty
    assert select(rows, parse(["arm=none", "part=b"])).empty
