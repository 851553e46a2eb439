"""Nested data with some of its entries replaced, and where each replacement was written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.errors import LoopscopeError
from experiments.grid.located_yaml import Location, Mark, Marks, parse_yaml


@dataclass(frozen=True)
class Change:
    """A value for a dotted path.

    Attributes:
        path: what is set, list indices as text.
        origin: where the value stands in the file, or the mark of a value from elsewhere.
    """

    path: Location
    value: Any
    origin: Location | Mark

    def mark(self, marks: Marks) -> Mark:
        """The place where the value was written."""
        return self.origin if isinstance(self.origin, Mark) else marks.find(self.origin)


def merge(base: Any, over: Any) -> Any:
    """`over` on top of `base`: mappings entry by entry, anything else is replaced.

    Two mappings of different `kind` describe different things: the second replaces the first.
    """
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    if "kind" in base and "kind" in over and base["kind"] != over["kind"]:
        return over
    return {**base, **{key: merge(base.get(key), value) for key, value in over.items()}}


def with_value(data: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of `data` in which `value` is merged into what stands at `path`.

    Raises:
        ValueError: the path leads into something that is neither mapping nor list, or beyond a
            list's end.
    """
    if not path:
        return merge(data, value)
    head, *rest = path
    if isinstance(data, list):
        if not head.isdecimal() or int(head) >= len(data):
            raise ValueError(f"the list has {len(data)} entries, counted from 0; got {head!r}")
        index = int(head)
        return [*data[:index], with_value(data[index], rest, value), *data[index + 1 :]]
    if data is not None and not isinstance(data, dict):
        raise ValueError(f"{data!r} has no entries; got {head!r}")
    data = data or {}
    return {**data, head: with_value(data.get(head), rest, value)}


def contains(data: Any, path: Sequence[str], value: Any) -> bool:
    """Whether what stands at `path` is `value`, or has its entries among others."""
    for step in path:
        data = data[int(step)] if isinstance(data, list) else (data or {}).get(step)
    if isinstance(value, dict) and isinstance(data, dict):
        return all(contains(data, (key,), entry) for key, entry in value.items())
    return data == value


def changes_in(entries: dict[str, Any], origin: Location) -> list[Change]:
    """The changes that a mapping of dotted paths to values asks for, in order."""
    return [
        Change(tuple(path.split(".")), value, (*origin, path)) for path, value in entries.items()
    ]


def command_line_changes(texts: Iterable[str]) -> list[Change]:
    """The changes that `--set path=value` asks for; values are YAML.

    Raises:
        LoopscopeError: no `=`, no path, or a value that is not YAML.
    """
    found = []
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not all(path.split(".")):
            raise LoopscopeError(f"--set needs path=value, such as training.lr=1e-3; got {text!r}")
        mark = Mark(f"--set {text}")
        data, _ = parse_yaml(value, mark.source)
        found.append(Change(tuple(path.strip().split(".")), data, mark))
    return found


def find_mark(changes: Sequence[Change], marks: Marks, location: Location, key: bool) -> Mark:
    """The place where the value at a location of the changed data was written.

    For a location that several changes share (a whole model, say), the last of them; for one
    that is missing, what it is missing from.
    """
    whole = location
    while location:
        for change in reversed(changes):
            below = change.path[: len(location)] == location and location == whole
            above = location[: len(change.path)] == change.path
            if not (above or below):
                continue
            if isinstance(change.origin, Mark):
                return change.origin
            here = (*change.origin, *location[len(change.path) :])
            if here in marks.values:
                return marks.find(here, key=key and location == whole)
        location = location[:-1]
    return marks.find(("baseline",))
