"""Grid files that no person means are refused in one message, at once, with their place."""

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.errors import LoopscopeError
from experiments.grid.grid import load_grid
from experiments.grid.located_yaml import parse_yaml

GRID = """\
baseline:
  task: {kind: KIND, world: permutation, entities: 8, relations: 8, hops: HOPS}
  model: {width: WIDTH, loops: LOOPS, heads: 1}
  training: {batch: BATCH, lr: LR, phases: [{until_step: STEPS}]}
"""
USUAL = {
    "KIND": "multihop",
    "HOPS": "2",
    "WIDTH": "16",
    "LOOPS": "1",
    "BATCH": "8",
    "LR": "1e-3",
    "STEPS": "5",
}
HUGE = "is an integer beyond 9,223,372,036,854,775,807, the largest of 64 bits"
TAG = "cannot stand here; values are text, numbers, true, false, lists and mappings"


def grid_text(**values: str) -> str:
    text = GRID
    for name, value in {**USUAL, **values}.items():
        text = text.replace(name, value)
    return text


def refusal(folder: Path, text: str) -> str:
    """The message with which a grid file is refused."""
    path = folder / "g.yaml"
    path.write_text(text)
    with pytest.raises(LoopscopeError) as caught:
        load_grid(path)
    return str(caught.value).removeprefix(str(path))


def test_the_usual_grid_is_a_grid(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(grid_text())
    assert len(load_grid(path).runs) == 1


@pytest.mark.parametrize("digits", ["9" * 400, "0x" + "f" * 5000, "-" + "9" * 5000, f"{2**63}"])
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("HOPS", ":2:79: baseline.task.hops"),
        ("LOOPS", ":3:29: baseline.model.loops"),
        ("BATCH", ":4:21: baseline.training.batch"),
        ("STEPS", ":4:56: baseline.training.phases.0.until_step"),
    ],
)
def test_integers_beyond_64_bits(tmp_path: Path, name: str, place: str, digits: str) -> None:
    assert refusal(tmp_path, grid_text(**{name: digits})) == f"{place}: {HUGE}"


@pytest.mark.parametrize("digits", ["9" * 400, "9" * 5000, "-" + "9" * 400, "9" * 400 + ".0"])
def test_quoted_integers_beyond_64_bits(tmp_path: Path, digits: str) -> None:
    said = refusal(tmp_path, grid_text(LOOPS=f"'{digits}'"))
    assert said == f":3:29: baseline.model.loops: {HUGE}"


def test_the_largest_integer_of_64_bits_is_read() -> None:
    assert parse_yaml(f"a: {2**63 - 1}", "f")[0] == {"a": 2**63 - 1}
    assert parse_yaml(f"a: -{2**63 - 1}", "f")[0] == {"a": 1 - 2**63}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("!!bool 3", "'3' is no bool"),
        ("!!int x", "'x' is no int"),
        ("!!float x", "'x' is no float"),
        ("!!null 3", "'3' is no null"),
        ("!!timestamp x", f"the tag !!timestamp {TAG}"),
        ("!!timestamp 2024-01-01", f"the tag !!timestamp {TAG}"),
        ("!!binary aGk=", f"the tag !!binary {TAG}"),
        ("!!omap [a: 1]", f"the tag !!omap {TAG}"),
        ("!!set {a, b}", f"the tag !!set {TAG}"),
        ("!!seq {a: 1}", f"the tag !!seq {TAG}"),
        ("!!map [1]", f"the tag !!map {TAG}"),
        ("!!map x", f"the tag !!map {TAG}"),
        ("!mine 3", f"the tag !mine {TAG}"),
        ("!!python/object/apply:os.system ['touch x']", "the tag !!python/object/apply:os.system"),
    ],
)
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("KIND", ":2:16: baseline.task.kind"),
        ("WIDTH", ":3:18: baseline.model.width"),
        ("LR", ":4:28: baseline.training.lr"),
    ],
)
def test_tags_that_are_no_data(
    tmp_path: Path, name: str, place: str, value: str, says: str
) -> None:
    assert refusal(tmp_path, grid_text(**{name: value})).startswith(f"{place}: {says}")


def test_tags_that_say_what_a_value_is() -> None:
    text = "{a: !!str 3, b: !!float 3, c: !!int '3', d: !!bool true, e: !!map {f: !!seq [1]}}"
    assert parse_yaml(text, "f")[0] == {"a": "3", "b": 3.0, "c": 3, "d": True, "e": {"f": [1]}}


@pytest.mark.parametrize(
    ("kind", "said"),
    [("[16, 32]", "[16, 32]"), ("{a: 1}", "{'a': 1}"), ("3", "3"), ("true", "True")],
)
def test_a_kind_is_a_name(tmp_path: Path, kind: str, said: str) -> None:
    says = f":2:9: task: `kind` needs a name, got {said}"
    assert refusal(tmp_path, grid_text(KIND=kind)) == says


def test_a_long_kind_is_told_in_short(tmp_path: Path) -> None:
    assert len(refusal(tmp_path, grid_text(KIND="x" * 100_000))) < 500


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ('title: "\\ud800"', ":5:8: title"),
        ('axes: {arm: [{name: "a\\udfff", model.loops: 2}]}', ":5:21: axes.arm.0.name"),
        ('parts: {"\\ud800": {}}', ":5:9: parts"),
    ],
)
def test_half_a_character(tmp_path: Path, more: str, place: str) -> None:
    said = refusal(tmp_path, grid_text() + more)
    assert said.startswith(f"{place}: has \\ud")
    assert said.endswith(", half of a character, which no file can hold")


@pytest.mark.parametrize("name", ["null", "~", "", "Null"])
def test_no_name_is_that_of_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(grid_text() + f"name: {name}")
    assert load_grid(path).name == "mine"


def test_levels_of_merged_mappings_are_read_once(tmp_path: Path) -> None:
    """Copies of all copies would be 3 to the power of 17 entries."""
    lines = ["a0: &a0 {x0: 1}"]
    lines += [
        f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}, *a{i - 1}], x{i}: 1}}" for i in range(1, 18)
    ]
    began = time.monotonic()
    data, _ = parse_yaml("\n".join(lines), "f")
    assert time.monotonic() - began < 5
    assert data["a17"] == {f"x{i}": 1 for i in range(18)}
    assert "a17: unknown key" in refusal(tmp_path, "\n".join(lines))


def test_wide_merges_are_refused() -> None:
    wide = ", ".join(f"k{i}: 1" for i in range(1000))
    text = f"a: &a {{{wide}}}\nb: {{<<: [{', '.join(['*a'] * 1000)}]}}"
    with pytest.raises(LoopscopeError, match="f:2:4: .*merges more than 200,000 values"):
        parse_yaml(text, "f")


def test_merged_mappings_keep_their_order_of_precedence() -> None:
    text = "a: &a {p: 1, q: 1, r: 1}\nb: &b {p: 2, q: 2}\nc: {<<: [*b, *a], p: 3}"
    assert parse_yaml(text, "f")[0]["c"] == {"p": 3, "q": 2, "r": 1}
    with pytest.raises(LoopscopeError, match="f:1:10: .*expected a mapping"):
        parse_yaml("c: {<<: [1]}", "f")


@pytest.mark.parametrize("error", ["GeneratorExit", "SystemExit", "BaseException", "ValueError"])
def test_a_file_that_raises_anything(tmp_path: Path, error: str) -> None:
    (tmp_path / "own.py").write_text(f"raise {error}('x')")
    says = f":2:9: task: {tmp_path / 'own.py'} cannot be imported: {error}: x"
    assert refusal(tmp_path, grid_text(KIND="own.py:Own")) == says


def test_too_many_points_are_refused_at_once(tmp_path: Path) -> None:
    rates = ", ".join(f"{i}e-6" for i in range(1, 334))
    axes = f"axes:\n  seed: {list(range(300))}\n  training.lr: [{rates}]\n"
    began = time.monotonic()
    said = refusal(tmp_path, grid_text() + axes)
    assert time.monotonic() - began < 5
    assert said == ":6:3: axes: make 99,900 points so far, and a grid has at most 10,000"


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("heads: 1", "heads: 1, layer_scale: X", "model.layer_scale"),
        ("heads: 1", "heads: 1, norm_eps: X", "model.norm_eps"),
        ("hops: 2", "hops: 2, hop_weights: [1, X]", "task.hop_weights.1"),
        ("batch: 8", "batch: 8, muon_lr: X", "training.muon_lr"),
        ("batch: 8", "batch: 8, ema: X", "training.ema"),
        ("baseline:", "baseline:\n  objective: {kind: gate, threshold: X}", "objective.threshold"),
    ],
)
def test_numbers_that_are_not_finite(
    tmp_path: Path, old: str, new: str, where: str, value: str
) -> None:
    said = refusal(tmp_path, grid_text().replace(old, new.replace("X", value)))
    assert where in said and ("finite" in said or "should be" in said), said


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(grid_text(HOPS="9" * 400))
    caught = CliRunner().invoke(app, ["plan", str(path)]).exception
    assert isinstance(caught, LoopscopeError)
    assert str(caught) == f"{path}:2:79: baseline.task.hops: {HUGE}"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "heads: 1",
            "heads: 1, mlp: relu2",
            ":3:47: model.mlp: should be 'swiglu', 'gelu' or 'moe', got 'relu2'",
        ),
        ("phases: [{", "phases: [{decay: steps, ", "decay: should be 'constant',"),
        ("heads: 1", "heads: 1, norm: rms", "model.norm: should be 'pre', 'sandwich', 'post' or"),
    ],
)
def test_all_allowed_values_are_listed(tmp_path: Path, old: str, new: str, says: str) -> None:
    said = refusal(tmp_path, grid_text().replace(old, new))
    assert says in said
    assert " or '" in said
