"""The command `loopscope compare` on results of known truth."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.results.row_filter import arm_label


def test_the_command_says_and_writes(out: Path) -> None:
    def invoke(*arguments: str):
        return CliRunner().invoke(app, ["compare", str(out), *arguments])

    said = invoke("--claim", "capacity-equal", "--between", "2x1", "1x4")
    assert isinstance(said.exception, LoopscopeError) and "2⊗1" in str(said.exception)
    said = invoke("--claim", "capacity-equal", "--between", "1x2", "1x4")
    assert said.exit_code == 0
    assert "1⊗4 stores as much as 1⊗2, within ±0.1 bits per parameter" in said.output
    narrow = invoke("--claim", "capacity-equal", "--margin", "0.001")
    assert "undecided in 1 of 1 cell" in narrow.output.replace("cells", "cell")
    asked = ["--claim", "manipulation-better", "--where", "difficulty=3", "--json"]
    data = json.loads(invoke(*asked).output)
    (verdict,) = data["verdicts"]
    assert (verdict["outcome"], verdict["solved"][1]["count"]) == ("supported", 8)
    assert verdict["level"] == 0.95 and verdict["margin"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--claim", "capacity-equl"], "did you mean 'capacity-equal'"),
        (["--claim", "capacity-equal", "--where", "width"], "needs a column and one of"),
        (["--claim", "capacity-equal", "--where", "widht=3"], "no column 'widht'"),
        (["--claim", "capacity-equal", "--where", "width=7"], "it measured bits_per_parameter"),
        (["--claim", "capacity-equal", "--by", "objektive"], "did you mean 'objective'"),
        (["--claim", "capacity-equal", "--between", "1x2", "1x2"], "two different values"),
        (["--claim", "capacity-equal", "--where", "n_loops=2"], "no two values of arm"),
        (["--claim", "capacity-equal", "--pair", "1x2"], "--pair 1x2: needs A:B, such as"),
        (["--claim", "capacity-equal", "--pair", ":1x4"], "needs A:B"),
        (["--claim", "capacity-equal", "--pair", "1x2:1x4:1x8"], "needs a column and one of"),
        (["--claim", "capacity-equal", "--pair", "1x2:1x3"], "'1⊗3' is not among those"),
        (["--claim", "capacity-different", "--margin", "0.2"], "for a claim of equality"),
        (["--claim", "capacity-equal", "--grid", "h"], "no results of a grid 'h'"),
    ],
)
def test_bad_requests_are_messages(arguments: list[str], message: str, out: Path) -> None:
    found = CliRunner().invoke(app, ["compare", str(out), *arguments])
    assert isinstance(found.exception, LoopscopeError)
    assert message in str(found.exception)


def test_another_metric_is_told_in_its_own_unit() -> None:
    """Usually bits per parameter are compared, of which repeats are known."""
    asked = ["compare", "reference:experts", "--claim", "capacity-different"]
    asked += ["--where", "part=store", "--pair", "dense 1⊗1:wide 1⊗1"]
    usual = CliRunner().invoke(app, asked).output
    assert "1.747, wide 1⊗1 1.823 bits per parameter" in usual and "trained again" in usual
    bits = CliRunner().invoke(app, [*asked, "--where", "metric=bits"]).output
    assert "dense 1⊗1 2208.617, wide 1⊗1 4529.325 bits." in bits
    assert "per parameter" not in bits and "trained again" not in bits
    found = json.loads(CliRunner().invoke(app, [*asked, "--where", "metric=bits", "--json"]).output)
    assert found["verdicts"][0]["unit"] == "bits"


def test_labels_as_typed() -> None:
    assert [arm_label(t) for t in ("1x4", "1⊗4", "2x1, 2 × the steps", "box")] == [
        "1⊗4",
        "1⊗4",
        "2⊗1, 2 × the steps",
        "box",
    ]
