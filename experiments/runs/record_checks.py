"""Whether what was read from a run's files is of the types that rows of results are made of.

The files are JSON that somebody may have edited. A missing value or null is an empty cell; fields
that are not listed here enter no table and are not checked.
"""

from dataclasses import fields
from math import isinf
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from experiments.runs.json_files import parse_line
from experiments.runs.schema_version import KEY, check_version
from probes.probe import Measurement


def _utf8(text: str) -> str:
    """Raises UnicodeEncodeError, a ValueError, for half a surrogate pair, as JSON may escape it."""
    text.encode()
    return text


Text = Annotated[str, AfterValidator(_utf8)] | None
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Whole = Int64 | None
Number = float | None


#: levels of a config, ten times those that one has
DEEPEST = 60


class Checked(BaseModel):
    """Strict: a text is no number, and true is no 1."""

    model_config = ConfigDict(strict=True)


#: name of a file that is neither ours nor installed -> hashes of its text and of its syntax
Code: TypeAlias = dict[str, list[str]]


class Component(Checked):
    exposures: Number = None


def _finite(number: float | None) -> float | None:
    """Raises ValueError for what no definition of a floor or a ceiling gives."""
    if number is not None and isinf(number):
        raise ValueError("infinite")
    return number


Bound = Annotated[Number, AfterValidator(_finite)]

_CELLS: dict[Any, Any] = {int: Whole, int | None: Whole, float: Number, float | None: Number}
_COLUMNS: dict[str, Any] = {f.name: (_CELLS.get(f.type, Text), None) for f in fields(Measurement)}
_COLUMNS |= dict.fromkeys(("floor", "ceiling"), (Bound, None))
_COLUMNS |= {"metric": (Text, ...), "probe": (Text, None)}
#: a measurement as a row, of which the metric alone has to be said, and the id of its probe
Row = create_model("Row", __base__=Checked, **_COLUMNS)


class Result(Checked):
    """What columns are made of in result.json."""

    task: Text = None
    label: Text = None
    objective: Text = None
    counted: Text = None
    k: Whole = None
    n_loops: Whole = None
    layers: Whole = None
    width: Whole = None
    steps: Whole = None
    train_flops: Number = None
    executed_flops: Number = None
    exposures: Number = None
    parameters: dict[str, Number] = {}
    timings: dict[str, Number] = {}
    components: dict[str, Component] = {}
    versions: dict[str, Int64] = {}
    metric_lines: Whole = None
    checksums: dict[str, str] = {}
    own_code: Code = {}
    probe_code: dict[str, Code] = {}
    measurements: list[Row]  # pyrefly: ignore


class Part(Checked):
    kind: str = ""


class Model(Checked):
    prelude: Int64 = 0
    core: Int64 = 0
    coda: Int64 = 0
    loops: Int64 = 0
    width: Int64 = 0


class Training(Checked):
    lr: Number = None
    phases: list[dict[str, Any]]


class Config(Checked):
    """What columns are made of in config.json, which may be that of a plugin that is gone."""

    task: Part
    model: Model
    objective: Part
    training: Training
    seed: Whole = None


class GridPoint(Checked):
    run_id: str
    part: str
    labels: dict[str, Annotated[str, AfterValidator(_utf8)]]


class GridRecord(Checked):
    """What points, figures and reports are made of in a record of a grid."""

    title: Text = None
    source: str = ""
    file: str = ""
    overrides: list[str] = []
    figures: list[dict[str, Any]] = []
    points: list[GridPoint]


class Line(Checked):
    """What rows are made of in a line of metrics.jsonl other than the first."""

    step: Int64
    cpu_seconds: Number = None
    measurements: list[Row] = []  # pyrefly: ignore
    numbers: dict[str, Number]


def is_whole(result: dict[str, Any]) -> bool:
    """Whether the content of a result.json has its measurements, and what columns are made of."""
    return _fits(Result, result)


def is_config(config: dict[str, Any]) -> bool:
    """Whether what columns are made of is in the content of a config.json."""
    return _is_flat(config) and _fits(Config, config)


def _is_flat(data: Any, levels: int = DEEPEST) -> bool:
    """Whether data is nested no more deeply than that, so that it can be walked through."""
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return levels > 0 and all(_is_flat(value, levels - 1) for value in inner)


def is_code(code: Any) -> bool:
    """Whether it can be what somebody's files were when a run was computed."""
    return _fits(Result, {"own_code": code, "measurements": []})


def is_grid(record: dict[str, Any]) -> bool:
    """Whether the content of a record of a grid is of the types that results are made of."""
    return _is_flat(record) and _fits(GridRecord, record)


def is_line(line: dict[str, Any]) -> bool:
    """Whether a line of metrics.jsonl, other than the first, can be rows of a table of results."""
    growth = line.get("growth") or {}  # besides its losses it says from what to what, and how
    goal = line.get("goal") or {"split": "", "accuracy": 0.0}
    if not isinstance(growth, dict) or not isinstance(goal, dict):
        return False
    if not isinstance(goal.get("split"), str):
        return False
    logged = ("loss", "exit", "mean_exit", "exit_entropy")
    numbers = {k: v for k, v in line.items() if k.partition(".")[0] in logged}
    numbers |= {k: v for k, v in growth.items() if k.endswith(("_before", "_after"))}
    numbers["goal"] = goal.get("accuracy")
    return _fits(Line, {**line, "numbers": numbers})


def metric_line(raw: bytes, path: Path) -> dict[str, Any] | None:
    """A line of metrics.jsonl; the first says the version alone. None where it is damaged.

    Raises:
        LoopscopeError: it is of a newer version.
    """
    line = parse_line(raw)
    if line is None:
        return None
    try:
        check_version(line.get(KEY, 1), path)
    except ValueError:
        return None
    return line if "step" not in line or is_line(line) else None


def _fits(kind: type[BaseModel], data: dict[str, Any]) -> bool:
    try:
        kind.model_validate(data)
    except ValidationError:
        return False
    return True
