"""YAML with a memory for places, so that an error can name file, line and column.

The scalars are those of YAML 1.2 (`yes` and `no` are text, `1e-3` is a number, 010 is ten);
PyYAML alone would follow 1.1. Numbers may have underscores, as in Python. A duplicate key, of
which PyYAML keeps the last in silence, is an error.
"""

import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from experiments.errors import LoopscopeError

Location = tuple[str, ...]
TAG = "tag:yaml.org,2002:"
MERGE = f"{TAG}merge"
#: the tags of data that a config can hold
MAPPING, SEQUENCE, TEXT = f"{TAG}map", f"{TAG}seq", f"{TAG}str"
#: the largest integer that arrays, JSON readers and Parquet hold; no field needs a larger one
LARGEST = 2**63 - 1
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
    #: entries copied for merge keys so far
    merged = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Puts the entries of merged mappings before the node's own, each key once.

        PyYAML keeps every copy of a key, whose number can double with each level of merging.

        Raises:
            ConstructorError: what is merged is no mapping, or there is too much of it.
        """
        merges = [value for key, value in node.value if key.tag == MERGE]
        if not merges:
            return
        own = [(key, value) for key, value in node.value if key.tag != MERGE]
        node.value = own  # ends the merging of a mapping into itself
        entries: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
        for value in merges:
            sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for source in reversed(sources):  # the first mapping of a list wins
                if not isinstance(source, yaml.MappingNode):
                    message = f"expected a mapping or a list of them to merge, got a {source.id}"
                    raise yaml.constructor.ConstructorError(None, None, message, source.start_mark)
                self.flatten_mapping(source)
                self.merged += len(source.value)
                if self.merged > MOST_VALUES:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"merges more than {MOST_VALUES:,} values", node.start_mark
                    )
                entries.update((_name_of(key), (key, value)) for key, value in source.value)
        entries.update((_name_of(key), (key, value)) for key, value in own)
        node.value = list(entries.values())


def _name_of(key: yaml.Node) -> Any:
    """What tells a key from others: its text, or itself where it is no plain word."""
    return key.value if isinstance(key, yaml.ScalarNode) else id(key)


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
    _Loader.add_implicit_resolver(f"{TAG}{_tag}", re.compile(f"(?:{_pattern})$"), _first)


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = node.value.replace("_", "")
    if len(text) > 40:  # Python reads no integer of thousands of digits
        return (LARGEST + 1) * (-1 if text.startswith("-") else 1)
    return int(text, 16) if text.startswith("0x") else int(text)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"_|\.(?=[a-zA-Z])", "", node.value))


_Loader.add_constructor(f"{TAG}int", _int)
_Loader.add_constructor(f"{TAG}float", _float)


def _wrong_tag(loader: _Loader, node: yaml.Node) -> str | None:
    """A message where a tag asks for what a config cannot hold, or for what the text is not."""
    if isinstance(node, yaml.ScalarNode):
        plain = loader.resolve(yaml.ScalarNode, node.value, (True, False))
        if node.tag in (plain, TEXT) and node.tag != MERGE:
            return None
        if (node.tag, plain) == (f"{TAG}float", f"{TAG}int"):
            return None
        if node.tag in {f"{TAG}{name}" for name in ("null", "bool", "int", "float")}:
            return f"{reprlib.repr(node.value)} is no {node.tag.removeprefix(TAG)}"
    elif node.tag == (MAPPING if isinstance(node, yaml.MappingNode) else SEQUENCE):
        return None
    name = node.tag.replace(TAG, "!!")
    known = "text, numbers, true, false, lists and mappings"
    return f"the tag {name} cannot stand here; values are {known}"


def _not_unicode(text: str) -> str | None:
    """A message about half a character, which no file can hold; None where there is none."""
    half = re.search(r"[\ud800-\udfff]", text)
    return f"has \\u{ord(half[0]):x}, half of a character, which no file can hold" if half else None


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
        if message := _wrong_tag(self.loader, node):
            self.problems.append(Problem(self.mark(node), at, message))
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*at, str(i))) for i, item in enumerate(node.value)]
        value = self.loader.construct_object(node)
        if isinstance(value, int) and abs(value) > LARGEST:
            message = f"is an integer beyond {LARGEST:,}, the largest of 64 bits"
            self.problems.append(Problem(self.mark(node), at, message))
            return None
        if isinstance(value, str) and (message := _not_unicode(value)):
            self.problems.append(Problem(self.mark(node), at, message))
            return None
        return value

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
            if message := _not_unicode(key.value):
                self.problems.append(Problem(self.mark(key), at, message))
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
