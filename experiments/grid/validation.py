"""From data to models, with located errors: what is wrong, where, and the nearest right name."""

import re
import reprlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from experiments.grid.located_yaml import LARGEST, ConfigError, Location, Mark, Problem
from generators.plugins import OpenUnion, nearest

Model = TypeVar("Model", bound=BaseModel)

#: characters of a quoted integer, which pydantic takes for a number
LONGEST_INTEGER = 40


def validate(
    cls: type[Model],
    data: Any,
    find: Callable[[Location, bool], Mark],
    *,
    prefix: Location = (),
    folders: tuple[Path, ...] = (),
) -> Model:
    """An instance of `cls` made of data.

    Args:
        find: mark of a location; the flag asks for that of its key.
        prefix: what precedes the locations in messages.
        folders: where plugin files are looked for before the current folder.

    Raises:
        ConfigError: all problems at once, unknown keys with the nearest known one.
    """
    if long := list(_long_integers(data if isinstance(data, str | dict | list) else ())):
        message = f"is an integer beyond {LARGEST:,}, the largest of 64 bits"
        raise ConfigError([Problem(find(at, False), prefix + at, message) for at in long])
    try:
        found = cls.model_validate(data, context={"folders": folders})
        if wrong := list(_truths(found, data)):
            message = "needed a number, got {}"
            raise ConfigError(
                [Problem(find(at, False), prefix + at, message.format(v)) for at, v in wrong]
            )
        return found
    except ValidationError as error:
        problems = []
        everything = error.errors()
        for details in everything:
            at = tuple(map(str, details["loc"]))
            # a list whose items are wrong is also called too short
            wrong_items = any(d["loc"][:-1][: len(at)] == details["loc"] for d in everything)
            if details["type"] == "too_short" and wrong_items:
                continue
            message, key = _message(cls, data, details, folders)
            if at[-1:] == ("[key]",):  # how pydantic says that a key itself is wrong
                at, key = at[:-1], True
            problems.append(Problem(find(at, key), prefix + at, message))
        raise ConfigError(problems) from error


def _long_integers(data: Any, at: Location = ()) -> Iterator[Location]:
    """Locations of quoted integers whose size no computation with floats survives."""
    if isinstance(data, str):
        if len(data) > LONGEST_INTEGER and re.fullmatch(r"\s*[-+]?[\d_]+(\.0*)?\s*", data):
            yield at
        return
    entries = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in entries:
        if isinstance(value, str | dict | list):
            yield from _long_integers(value, (*at, str(key)))


def _truths(found: Any, data: Any, at: Location = ()) -> Iterator[tuple[Location, bool]]:
    """Locations at which pydantic made a number of true or false, which nobody means by it."""
    if isinstance(data, bool):
        if isinstance(found, int | float) and not isinstance(found, bool):
            yield at, data
    elif isinstance(data, dict):
        for key, value in data.items():
            inner = found.get(key) if isinstance(found, dict) else getattr(found, str(key), None)
            yield from _truths(inner, value, (*at, str(key)))
    elif isinstance(data, list) and isinstance(found, list | tuple) and len(data) == len(found):
        for i, (inner, value) in enumerate(zip(found, data, strict=True)):
            yield from _truths(inner, value, (*at, str(i)))


def _message(
    cls: type[BaseModel], data: Any, error: ErrorDetails, folders: tuple[Path, ...]
) -> tuple[str, bool]:
    """A message, and whether the key is wrong rather than its value."""
    if error["type"] == "extra_forbidden":
        known = fields_at(cls, data, error["loc"][:-1], folders)
        hint = nearest(str(error["loc"][-1]), known)
        return f"unknown key{hint or ('; known: ' + ', '.join(known) if known else '')}", True
    if error["type"] == "missing":
        return "is missing", False
    if error["type"] == "model_type":
        return f"needed a mapping, got {reprlib.repr(error['input'])}", False
    if error["type"] in ("value_error", "kind", "plugin"):
        return error["msg"].removeprefix("Value error, "), False
    message = error["msg"].replace("Input should", "should")
    if error["type"] not in ("literal_error", "enum"):  # these list what is allowed
        message = message.partition(", ")[0]
    return f"{message}, got {reprlib.repr(error['input'])}", False


def fields_at(
    cls: type[BaseModel], data: Any, location: Iterable[str | int], folders: Iterable[Path] = ()
) -> list[str]:
    """The names of the fields of the model at a location; empty where there is none."""
    annotation: Any = cls
    for step in location:
        model = _model_in(annotation, data, folders)
        if model is None:  # an entry of a list or of a mapping
            annotation = [*get_args(_plain(annotation)), None][isinstance(data, dict)]
        elif (info := model.model_fields.get(str(step))) is not None:
            annotation = (info.annotation, *info.metadata)
        else:
            return []
        data = _entry(data, step)
    model = _model_in(annotation, data, folders)
    return [] if model is None else list(model.model_fields)


def _plain(annotation: Any) -> Any:
    """An annotation without metadata and without `| None`."""
    if isinstance(annotation, tuple):
        return _plain(annotation[0])
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return _plain(get_args(annotation)[0])
    return annotation


def _model_in(annotation: Any, data: Any, folders: Iterable[Path]) -> type[BaseModel] | None:
    """The model that an annotation (or annotation with metadata) means for these data."""
    metadata = annotation if isinstance(annotation, tuple) else get_args(annotation)
    union = next((m for m in metadata if isinstance(m, OpenUnion)), None)
    if union is not None:
        try:
            return union.class_of(data, folders)
        except PydanticCustomError:
            return None
    plain = _plain(annotation)
    return plain if isinstance(plain, type) and issubclass(plain, BaseModel) else None


def _entry(data: Any, step: str | int) -> Any:
    try:
        return data[step]
    except (KeyError, IndexError, TypeError):
        return None
