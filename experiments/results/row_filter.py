"""The language of `--where`, and of `conditions` of figures: which rows of the results are meant.

    task=bios,k=1,width>=64      all of them hold
    difficulty=2|3               one of the values
    loop!=1                      rows without a loop too: it is the opposite of loop=1
    part="a, b"                  quotes around what holds a comma, a bar or a space at an end
    difficulty=                  rows that have none

Columns of text are compared as text, but with < <= > >= as numbers. A value that a column of text
does not hold is looked for by what it means in a grid file, where 1e-3 is 0.001, `no` is false and
null is none; so are the fields of a run that have a column of another name. Nothing is evaluated.
"""

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from experiments.errors import LoopscopeError
from generators.plugins import nearest
from probes.probe import Measurement

if TYPE_CHECKING:
    import pandas as pd

ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TYPES: dict[Any, str] = {int: "Int64", int | None: "Int64", str: "str"}
_KINDS = {field.name: _TYPES.get(field.type, "float64") for field in fields(Measurement)}
_METRIC, _NUMBER, _N_ITEMS, *_PLACE_AND_RANGE = _KINDS
_PLACE = _PLACE_AND_RANGE[: _PLACE_AND_RANGE.index("floor")]
_RANGE = _PLACE_AND_RANGE[len(_PLACE) :]
#: column of a measured number, rather than of its run -> pandas type, in the order of the table
MEASURED = {name: _KINDS[name] for name in (*_PLACE, _METRIC, _NUMBER, *_RANGE, _N_ITEMS)}

#: path in a grid file -> the column that holds it, for grids without an axis of that path
FIELDS = {
    "task.kind": "task",
    "objective.kind": "objective",
    "model.core": "k",
    "model.loops": "n_loops",
    "model.width": "width",
    "training.lr": "lr",
}
#: word of YAML, in small letters -> what it means
WORDS = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
    **dict.fromkeys(("null", "none", "~"), None),
}

_COLUMN = re.compile(r"\s*([^\s=!<>,|'\"]+)\s*(!=|<=|>=|==?|<|>)")
_VALUE = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|((?!["'])[^,|]*?))\s*(?=[,|]|$)""")


@dataclass(frozen=True)
class Condition:
    """`column operator value`, or for = and != one of several values, as typed."""

    column: str
    operator: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.column}{self.operator}{'|'.join(self.values)}"


def parse(texts: Iterable[str]) -> list[Condition]:
    """
    >>> [str(c) for c in parse(["k=1, width>=64", "arm=1x4|'1⊗2'"])]
    ['k=1', 'width>=64', 'arm=1⊗4|1⊗2']

    Raises:
        LoopscopeError: text that is no condition.
    """
    return [condition for text in texts for condition in _parse(text)]


def _parse(text: str) -> Iterator[Condition]:
    at = 0
    while True:
        head = _COLUMN.match(text, at)
        if head is None:
            raise _wrong(text, at, "a column and one of = != < <= > >=")
        column, at = head[1], head.end()
        values = []
        while True:
            found = _VALUE.match(text, at)
            if found is None:
                raise _wrong(text, at, "a value, its quotes closed")
            values.append(next(v for v in found.groups() if v is not None))
            at = found.end() + 1
            if text[found.end() : at] != "|":
                break
        sign = "=" if head[2] == "==" else head[2]
        if sign in ORDERS and (len(values) > 1 or _number(values[0]) is None):
            raise _wrong(text, head.end(), f"one number, for {sign}")
        if column == "arm":
            values = [arm_label(value) for value in values]
        yield Condition(column, sign, tuple(values))
        if at > len(text):
            return


def _wrong(text: str, at: int, needed: str) -> LoopscopeError:
    place = f"at {text[at:]!r}" if text[at:].strip() else "at its end"
    return LoopscopeError(
        f"--where {text}: needs {needed} {place}; such as task=bios,width>=64 or difficulty=2|3"
    )


def arm_label(text: str) -> str:
    """`1x4` -> `1⊗4`; other labels as they are."""
    return re.sub(r"^(\d+)x(\d+)\b", r"\1⊗\2", text)


def _number(text: str) -> int | float | None:
    """The number that a text is; None where it is none (`nan` is none)."""
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return value if value == value else None
    return None


def meaning(text: str) -> tuple[Any, ...]:
    """What a text is in a grid file, such that two spellings of one value are equal.

    >>> meaning("1e-3") == meaning("0.001"), meaning("no") == meaning("false")
    (True, True)
    >>> meaning("1") == meaning("true"), meaning("[1,2]") == meaning("[1.0, 2]")
    (False, True)
    """
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return ("list", *map(meaning, text[1:-1].split(",")))
    if text.lower() in WORDS:
        return "word", WORDS[text.lower()]
    number = _number(re.sub(r"^([+-]?)\.(inf)$", r"\1\2", text.lower()))
    return ("text", text) if number is None else ("number", number)


def select(rows: "pd.DataFrame", conditions: Sequence[Condition]) -> "pd.DataFrame":
    """The rows that meet every condition.

    A run that has nothing measured is not left out for what its numbers would be.

    Raises:
        LoopscopeError: an unknown column, or a value that a column cannot have.
    """
    every = rows
    for condition in conditions:
        field = condition.column
        column = FIELDS.get(field, field) if field not in rows else field
        check_columns(rows, [column if column in rows else field], f"--where {condition}")
        met = _met(rows[column], condition, every[column])
        if condition.column in MEASURED and "metric" in rows:
            met |= rows["metric"] == ""
        rows = rows[met]
    return rows


def check_columns(rows: "pd.DataFrame", columns: Iterable[str], asked: str) -> None:
    """Raises LoopscopeError for a column that the results lack."""
    known = list(map(str, rows))
    for column in columns:
        if column not in known:
            raise LoopscopeError(
                f"{asked}: the results have no column {column!r}{nearest(column, known)}; "
                f"they have {', '.join(known)}"
            )


def _met(column: "pd.Series", condition: Condition, every: "pd.Series") -> "pd.Series":
    """Whether each value of a column meets a condition; `every` is the column of all rows."""
    import pandas as pd

    if condition.operator in ORDERS:
        numbers = column if column.dtype != "str" else pd.to_numeric(column, errors="coerce")
        found = ORDERS[condition.operator](numbers, _number(condition.values[0]))
        return found.fillna(False).astype(bool)
    met = pd.Series(False, index=column.index)
    for text in condition.values:
        value = _value(text, column, condition)
        if column.dtype == "str" and not (every == text).any():
            wanted = meaning(text)
            same = pd.Series(
                [isinstance(known, str) and meaning(known) == wanted for known in column],
                index=column.index,
                dtype=bool,
            )
        else:
            same = column.isna() if value is None else column == value
        met |= same.fillna(False).astype(bool)
    return ~met if condition.operator == "!=" else met


def _value(text: str, column: "pd.Series", condition: Condition) -> Any:
    """The value as the column has it; None for an empty text.

    Raises:
        LoopscopeError: the column holds no such values.
    """
    if column.dtype == "str":
        return text
    if not text:
        return None
    kinds = {k: v for k, v in WORDS.items() if v is not None} if column.dtype == "boolean" else {}
    value = kinds.get(text.lower()) if kinds else _number(text)
    if value is None:
        needed = "true or false" if kinds else "a number"
        raise LoopscopeError(f"--where {condition}: {column.name} is {needed}, not {text!r}")
    return value


def chosen_runs(runs: "pd.DataFrame", conditions: Sequence[Condition], what: str) -> list[str]:
    """Ids of the runs of which a row meets every condition.

    Args:
        what: is done with them, for the message.

    Raises:
        LoopscopeError: as `select`, or a condition on what was measured.
    """
    for condition in conditions:
        if condition.column in MEASURED:
            known = ", ".join(str(c) for c in runs if c not in MEASURED)
            raise LoopscopeError(
                f"--where {condition}: {what} whole runs, and {condition.column} is of a number "
                f"measured; choose by {known}"
            )
    return list(dict.fromkeys(select(runs, conditions)["run_id"]))
