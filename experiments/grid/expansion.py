"""Baseline × axes: the combinations of a grid file, in a fixed order, before validation."""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field, field_validator

from experiments.analysis.figures.figure import AnyFigure
from experiments.config.frozen import Frozen
from experiments.config.run import RunConfig
from experiments.grid.changes import Change, changes_in
from experiments.grid.located_yaml import ConfigError, Location, Marks, Problem
from generators.plugins import nearest

#: with room for what names of files add to it
GRID_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,119}"
#: points of a grid, of which each takes about a millisecond to check
MOST_POINTS = 10_000


class Block(Frozen):
    """A baseline and axes: every combination of the axes' values, the last axis fastest."""

    baseline: dict[str, Any] = Field({}, description="fields of a run, dotted or nested")
    axes: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        {}, description="dotted path -> values, or label -> groups of values"
    )


class GridFile(Block):
    """The content of a grid file. Parts add to the baseline and axes at the top."""

    name: str | None = Field(None, pattern=f"^{GRID_NAME}$", description="None: that of the file")
    title: str = Field("", description="the question that the grid asks")
    parts: dict[Annotated[str, Field(pattern=r"^[^/\\\s]+$")], Block] = Field(
        {}, description="name -> baseline and axes on top of those above"
    )
    figures: list[AnyFigure] = Field([], description="drawn when the grid has been run")

    @field_validator("name", mode="before")
    @classmethod
    def _names_files(cls, name: Any) -> Any:
        if isinstance(name, str) and not re.fullmatch(GRID_NAME, name):
            raise ValueError(
                f"{name!r} cannot name files everywhere; give the grid a `name` of the letters "
                "A to Z and a to z, digits, '.', '_' and '-' that begins with a letter or digit "
                "and has at most 120 characters"
            )
        return name


class Combination(NamedTuple):
    """What a grid file says about one point.

    Attributes:
        changes: all changes, the baseline's first; later ones win.
        varied: the changes that the axes make, whose values the labels promise.
    """

    part: str
    labels: dict[str, str]
    changes: tuple[Change, ...]
    varied: tuple[Change, ...]


class AxisValue(NamedTuple):
    """A value of an axis and what it changes."""

    label: str
    changes: list[Change]


def expand(file: GridFile, asked: Sequence[Change], marks: Marks) -> list[Combination]:
    """All combinations: parts in file order; in each the axes in file order, the last fastest.

    The axes at the top come before those of a part. A change of exactly an axis's path replaces
    the values of that axis.

    Args:
        asked: changes to every run, from the command line.

    Raises:
        ConfigError: axes that are neither a path nor a label of groups, values of the same
            label, or more points than a grid may have.
    """
    base = changes_in(file.baseline, ("baseline",))
    replaced = {".".join(change.path): change for change in asked}
    blocks = {name: (part, ("parts", name)) for name, part in file.parts.items()}
    found: list[Combination] = []
    wrong: list[Problem] = []
    for name, (part, at) in (blocks or {"": (Block(), ())}).items():
        origins = {axis: ("axes", axis) for axis in file.axes}
        origins |= {axis: (*at, "axes", axis) for axis in part.axes}
        values = {**file.axes, **part.axes}
        options: dict[str, list[AxisValue]] = {}
        for axis, origin in origins.items():
            if axis in replaced:
                change = replaced[axis]
                options[axis] = [AxisValue(label_of(change.value), [change])]
            else:
                options[axis] = axis_values(axis, values[axis], origin)
                wrong += _unclear(axis, values[axis], options[axis], origin, marks)
        if (count := len(found) + math.prod(map(len, options.values()))) > MOST_POINTS:
            where = (*at, "axes") if part.axes else ("axes",)
            message = f"make {count:,} points so far, and a grid has at most {MOST_POINTS:,}"
            raise ConfigError([*wrong, Problem(marks.find(where), where, message)])
        baseline = [*base, *changes_in(part.baseline, (*at, "baseline"))]
        for chosen in itertools.product(*options.values()):
            varied = [change for value in chosen for change in value.changes]
            labels = {axis: v.label for axis, v in zip(options, chosen, strict=True)}
            changes = (*baseline, *varied, *asked)
            found.append(Combination(name, labels, changes, tuple(varied)))
    if wrong:
        raise ConfigError(wrong)
    return found


def axis_values(axis: str, values: list[Any], origin: Location) -> list[AxisValue]:
    """The values of an axis: one for a path, or a group that varies together under a label."""
    found = []
    for i, value in enumerate(values):
        here = (*origin, str(i))
        if isinstance(value, dict) and not _is_path(axis):
            entries = {key: v for key, v in value.items() if key != "name"}
            label = label_of(value.get("name", entries))
            found.append(AxisValue(label, changes_in(entries, here)))
        else:
            found.append(AxisValue(label_of(value), [Change(tuple(axis.split(".")), value, here)]))
    return found


def _is_path(axis: str) -> bool:
    return axis.split(".")[0] in RunConfig.model_fields


def _unclear(
    axis: str, values: list[Any], options: list[AxisValue], origin: Location, marks: Marks
) -> Iterator[Problem]:
    """The problems of an axis itself: no path and no groups, or values of the same label."""
    if not _is_path(axis) and ("." in axis or not all(isinstance(v, dict) for v in values)):
        hint = nearest(axis.split(".")[0], RunConfig.model_fields)
        message = (
            f"a run has no field {axis.split('.')[0]!r}{hint}; under a label of its own, "
            "an axis has mappings, each with values that vary together"
        )
        yield Problem(marks.find(origin, key=True), origin, message)
    labels = [value.label for value in options]
    for i, label in enumerate(labels):
        if label in labels[:i]:
            at = (*origin, str(i))
            message = f"a second value is called {label!r}; results could not be told apart"
            yield Problem(marks.find(at), at, message)


def label_of(value: Any) -> str:
    """A value as short text: 0.004, true, `multihop world=permutation`."""
    if isinstance(value, dict):
        entries = (label_of(v) if k == "kind" else f"{k}={label_of(v)}" for k, v in value.items())
        return " ".join(entries)
    if isinstance(value, list):
        return f"[{', '.join(map(label_of, value))}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)
