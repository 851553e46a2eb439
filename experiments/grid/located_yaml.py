"""YAML with a memory for places, so that an error can name file, line and column.

The scalars are those of YAML 1.2 (`yes` and `no` are text, `1e-3` is a number, 010 is ten);
PyYAML alone would follow 1.1. Numbers may have underscores, as in Python. A duplicate key, of
which PyYAML keeps the last in silence, is an error.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from experiments.errors import LoopscopeError

Location = tuple[str, ...]
MERGE = "tag:yaml.org,2002:merge"
#: a few lines of aliases of aliases can stand for more values than there is memory
MOST_VALUES = 200_000


class Mark(NamedTuple):
    """A place in a file; line and column count from 1, and are 0 for what is in no file."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Marks:
    """The places of the parts of a document, by location: `("model", "width")`, indices as text.

    Attributes:
        keys: of a mapping entry, where its key begins.
        values: where the value begins.
    """

    keys: dict[Location, Mark] = field(default_factory=dict)
    values: dict[Location, Mark] = field(default_factory=dict)

    def find(self, location: Location, *, key: bool = False) -> Mark:
        """The mark of a location, or of the nearest thing around it that has one."""
        marks = self.keys if key else self.values
        while location and location not in marks:
            location = location[:-1]
        return marks.get(location, self.values[()])


class Problem(NamedTuple):
    """One thing that is wrong in a config."""

    mark: Mark
    location: Location
    message: str

    def __str__(self) -> str:
        where = ".".join(self.location)
        return f"{self.mark}: {where}: {self.message}" if where else f"{self.mark}: {self.message}"


class ConfigError(LoopscopeError):
    """All problems of a config, one line each, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(map(str, self.problems)))


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.nan",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first
    )


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = node.value.replace("_", "")
    return int(text, 16) if text.startswith("0x") else int(text)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"_|\.(?=[a-zA-Z])", "", node.value))


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


@dataclass
class _Reader:
    """Builds data and marks in one walk over the nodes."""

    loader: _Loader
    source: str
    marks: Marks = field(default_factory=Marks)
    problems: list[Problem] = field(default_factory=list)

    def mark(self, node: yaml.Node) -> Mark:
        return Mark(self.source, node.start_mark.line + 1, node.start_mark.column + 1)

    def read(self, node: yaml.Node, at: Location = ()) -> Any:
        self.marks.values[at] = self.mark(node)
        if len(self.marks.values) > MOST_VALUES:
            message = f"has more than {MOST_VALUES:,} values, those of aliases (*name) counted"
            raise ConfigError([Problem(Mark(self.source), (), message)])
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*at, str(i))) for i, item in enumerate(node.value)]
        return self.loader.construct_object(node)

    def mapping(self, node: yaml.MappingNode, at: Location) -> dict[str, Any]:
        first: dict[str, int] = {}
        for key in (k for k, _ in node.value if isinstance(k, yaml.ScalarNode)):
            mark, name = self.mark(key), key.value
            if name in first and key.tag != MERGE:
                message = f"is already given in line {first[name]}; give it once"
                self.problems.append(Problem(mark, (*at, name), message))
            first.setdefault(name, mark.line)
        self.loader.flatten_mapping(node)
        data = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.problems.append(Problem(self.mark(key), at, "a key must be a plain word"))
                continue
            here = (*at, key.value)
            self.marks.keys[here] = self.mark(key)
            data[key.value] = self.read(value, here)
        return data


def parse_yaml(text: str, source: str) -> tuple[Any, Marks]:
    """Data and where each part of it is.

    Raises:
        ConfigError: no YAML, too much of it, several documents, or duplicate keys (all of them).
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, Marks(values={(): Mark(source, 1, 1)})
        reader = _Reader(loader, source)
        data = reader.read(node)
    except RecursionError as error:
        raise ConfigError([Problem(Mark(source), (), "is nested without end")]) from error
    except (yaml.YAMLError, ValueError) as error:
        place = getattr(error, "problem_mark", None)
        mark = Mark(source, place.line + 1, place.column + 1) if place else Mark(source)
        named = (getattr(error, name, None) for name in ("problem", "reason"))
        what = next(filter(None, named), str(error))
        raise ConfigError([Problem(mark, (), f"is not valid YAML: {what}")]) from error
    if reader.problems:
        raise ConfigError(reader.problems)
    return data, reader.marks


def load_yaml(path: Path) -> tuple[Any, Marks]:
    """The content of a YAML file, None where it is empty, and where each part of it is.

    Raises:
        ConfigError: see `parse_yaml`.
        LoopscopeError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LoopscopeError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise LoopscopeError(f"{path} cannot be read: {error.strerror}") from error
    return parse_yaml(text, str(path))
