"""Files are read as YAML 1.2, and everything wrong is reported at its place, all at once."""

import math
from pathlib import Path

import pytest

from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.grid.located_yaml import ConfigError, Mark, Marks, load_yaml, parse_yaml
from experiments.grid.validation import fields_at, validate


def read(text: str) -> object:
    return parse_yaml(text, "f.yaml")[0]


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f.yaml")
    return str(caught.value).splitlines()


def invalid(text: str) -> list[str]:
    """The problems of a run written in `text`."""
    data, marks = parse_yaml(text, "f.yaml")
    with pytest.raises(ConfigError) as caught:
        validate(RunConfig, data, lambda at, key: marks.find(at, key=key))
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("4e+2", 400.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("3.", 3.0),
        ("-.inf", -math.inf),
        ("1_000", 1000),
        ("010", 10),
        ("0x1F", 31),
        ("-7", -7),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("'1'", "1"),
        ("1⊗4", "1⊗4"),
        ("e5", "e5"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = read(f"a: {text}")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)  # pyrefly: ignore


def test_nan_and_nothing() -> None:
    assert math.isnan(read("a: .nan")["a"])  # pyrefly: ignore
    assert read("a:") == {"a": None}
    assert read("# only a comment") is None


def test_keys_are_text() -> None:
    assert read("1: a\nno: b\n1.5: c") == {"1": "a", "no": "b", "1.5": "c"}


def test_anchors_and_merge_keys() -> None:
    text = "a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: *x"
    assert read(text) == {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}, "c": {"p": 1, "q": 2}}


def test_every_duplicate_key_is_reported() -> None:
    assert problems("a: 1\nb: {c: 1, c: 2}\na: 3") == [
        "f.yaml:2:11: b.c: is already given in line 2; give it once",
        "f.yaml:3:1: a: is already given in line 1; give it once",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1\n", "f.yaml:2:1: is not valid YAML: expected ',' or ']'"),
        ("a: 1\n b: 2\n", "f.yaml:2:3: is not valid YAML: mapping values are not allowed here"),
        ("a:\n\t- 1", "f.yaml:2:1: is not valid YAML: found character '\\t'"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: is not valid YAML: but found another document"),
        ("a: *b", "f.yaml:1:4: is not valid YAML: found undefined alias"),
        ("a: &a [*a]", "f.yaml: is nested without end"),
        ("? [1, 2]\n: 3", "f.yaml:1:3: a key must be a plain word"),
        ("a: !!python/name:os.system x", "f.yaml:1:4: a: the tag !!python/name:os.system"),
        ("a: \x00", "is not valid YAML"),
    ],
)
def test_what_is_no_yaml_is_said_where(text: str, says: str) -> None:
    assert says in problems(text)[0]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LoopscopeError, match="cannot be read: No such file"):
        load_yaml(tmp_path / "absent.yaml")
    with pytest.raises(LoopscopeError, match="cannot be read: Is a directory"):
        load_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: Zürich".encode("latin-1"))
    with pytest.raises(LoopscopeError, match="is not UTF-8 text"):
        load_yaml(tmp_path / "latin.yaml")


def test_marks_point_at_keys_and_values() -> None:
    _, marks = parse_yaml("a:\n  b: [1, {c: 2}]\n", "f.yaml")
    assert marks.find(("a", "b", "1", "c")) == Mark("f.yaml", 2, 14)
    assert marks.find(("a", "b", "1", "c"), key=True) == Mark("f.yaml", 2, 11)
    assert marks.find(("a", "b", "1")) == Mark("f.yaml", 2, 10)
    assert marks.find(("a", "absent")) == Mark("f.yaml", 2, 3)
    assert marks.find(("a", "b", "0"), key=True) == Mark("f.yaml", 2, 3)
    assert marks.find(()) == Mark("f.yaml", 1, 1)


GOOD = """task: {kind: multihop}
model:
  width: 64
training:
  phases:
    - {until_step: 10}
"""


def test_a_good_run_is_read() -> None:
    data, marks = parse_yaml(GOOD, "f.yaml")
    run = validate(RunConfig, data, lambda at, key: marks.find(at, key=key))
    assert run.model.width == 64


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("width: 64", "widht: 64", "f.yaml:3:3: model.widht: unknown key (did you mean 'width'?)"),
        ("width: 64", "width: wide", "f.yaml:3:10: model.width: should be a valid integer"),
        ("width: 64", "width: 65", "f.yaml:3:3: model: heads must divide width: width 65"),
        ("width: 64", "width: no", "f.yaml:3:10: model.width: should be a valid integer"),
        (
            "width: 64",
            "norm: last",
            "f.yaml:3:9: model.norm: should be 'pre', 'sandwich', 'post' or 'deepnorm'",
        ),
        (
            "{until_step: 10}",
            "{until_step: 0}",
            "f.yaml:6:20: training.phases.0.until_step: should",
        ),
        ("{until_step: 10}", "{until: 10}", "training.phases.0.until: unknown key (did you mean"),
        ("{until_step: 10}", "3", "f.yaml:6:7: training.phases.0: needed a mapping, got 3"),
        ("    - {until_step: 10}", "    []", "f.yaml:6:5: training.phases: Tuple should have at"),
        ("multihop}", "multihops}", "f.yaml:1:7: task: unknown kind 'multihops' (did you mean"),
        ("{kind: multihop}", "{hops: 2}", "f.yaml:1:7: task: `kind` is missing; it is one of"),
        ("{kind: multihop}", "multihop", "f.yaml:1:7: task: needed a mapping with `kind`"),
        ("kind: multihop", "kind: multihop, hop: 2", "1:24: task.hop: unknown key (did you mean"),
        ("kind: multihop", "kind: bios, people: 99999999", "more than the"),
        ("task: {kind: multihop}", "seed: 1", "f.yaml:1:1: task: is missing"),
        ("task:", "sede: 1\ntask:", "f.yaml:1:1: sede: unknown key (did you mean 'seed'?)"),
        ("kind: multihop", "kind: none/such.py:Class", "f.yaml:1:7: task: there is no file"),
    ],
)
def test_one_mistake_is_named_with_its_place(old: str, new: str, says: str) -> None:
    assert old in GOOD
    (found,) = invalid(GOOD.replace(old, new))
    assert says in found


def test_all_mistakes_are_reported_in_the_order_of_the_file() -> None:
    text = GOOD.replace("multihop", "multihop, hop: 2, entities: x").replace("width", "widht")
    text = (
        text.replace("until_step", "until_stpe") + "observe:\n  probes: [{kind: accuracy, item: 3}]"
    )
    found = invalid(text)
    assert [line.split(":")[1] for line in found] == ["1", "1", "3", "6", "8"]
    assert "did you mean 'items'?" in found[-1]


def test_long_values_are_cut() -> None:
    (found,) = invalid(GOOD.replace("width: 64", f"width: {'x' * 1000}"))
    assert len(found) < 200


def test_a_message_without_a_place_in_a_file() -> None:
    assert str(Mark("--set a=1")) == "--set a=1"
    with pytest.raises(ConfigError, match="^here: model: is missing\nhere: task: is missing"):
        validate(RunConfig, {}, lambda at, key: Mark("here"))


def test_fields_at_follows_lists_unions_and_options() -> None:
    data = {"task": {"kind": "bios"}, "observe": {"probes": [{"kind": "capacity"}]}}
    assert "people" in fields_at(RunConfig, data, ("task",))
    assert "resamples" in fields_at(RunConfig, data, ("observe", "probes", 0))
    assert "until_step" in fields_at(RunConfig, data, ("training", "phases", 3))
    assert "phases" in fields_at(RunConfig, data, ("training",))
    assert fields_at(RunConfig, data, ("seed",)) == []
    assert fields_at(RunConfig, data, ("absent", "x")) == []
    assert fields_at(RunConfig, {"task": {"kind": "?"}}, ("task",)) == []


def test_marks_of_nothing_are_the_whole() -> None:
    marks = Marks(values={(): Mark("all")})
    assert marks.find(("a", "b"), key=True) == Mark("all")


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    rows = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        rows.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    assert read("\n".join(rows[:4]))
    with pytest.raises(ConfigError, match="more than 200,000 values, those of aliases"):
        read("\n".join(rows))
