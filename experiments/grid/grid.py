"""A grid file: a baseline run and what varies, expanded into a fixed order.

name: example
title: what loops buy
baseline: {task: {kind: multihop}, model: {width: 64}, training: {…}}
axes:
  model.loops: [1, 2, 4]             # a dotted path and its values
  arm:                               # a label and groups of values that vary together
    - {name: slow, training.lr: 1e-3, training.batch: 256}
    - {name: fast, training.lr: 4e-3, training.batch: 1024}
parts:                               # blocks on top of the baseline, with more axes
  permutations: {baseline: {task.world: permutation}, axes: {seed: [0, 1, 2]}}
figures: [{kind: accuracy_versus_loops}]

A run that starts from another point's final weights names it by `part` and labels; on every other
axis the two agree: `start: {arm: slow}`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.analysis.figures.figure import Figure
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.grid.changes import command_line_changes, contains, find_mark, with_value
from experiments.grid.expansion import Combination, GridFile, expand
from experiments.grid.located_yaml import ConfigError, Location, Mark, Marks, Problem, load_yaml
from experiments.grid.run_checks import problems
from experiments.grid.start_references import UNKNOWN, starts_first, targets_of
from experiments.grid.validation import validate
from generators.plugins import nearest, path_of

SHIPPED = Path(__file__).parents[1] / "grids"


@dataclass(frozen=True)
class GridPoint:
    """One combination. Several points may be the same run.

    Attributes:
        labels: axis -> value as text, or the name of a group.
    """

    config: RunConfig
    run_id: str
    part: str
    labels: dict[str, str]


@dataclass(frozen=True)
class Grid:
    """An expanded grid, in the order of its file.

    Attributes:
        source: the text of the file.
        changes: `path=value` on top of it, as given to `--set`.
        file: its absolute path; `shipped NAME.yaml` of one that comes with loopscope.
        drawn: its figures as objects, each with its place in the file.
    """

    name: str
    title: str
    figures: tuple[dict[str, Any], ...]
    points: tuple[GridPoint, ...]
    source: str = ""
    changes: tuple[str, ...] = ()
    file: str = ""
    drawn: tuple[tuple[Mark, Figure], ...] = ()

    @property
    def runs(self) -> dict[str, RunConfig]:
        """Run id -> config, each run once, in the order of the points."""
        found: dict[str, RunConfig] = {}
        for point in self.points:
            found.setdefault(point.run_id, point.config)
        return found

    def runs_of(self, part: str | None) -> dict[str, RunConfig]:
        """The runs of a part and those that they start from; None: all.

        Raises:
            LoopscopeError: there is no such part.
        """
        runs = self.runs
        if part is None:
            return runs
        left = [point.run_id for point in self.points if point.part == part]
        if not left:
            raise self.no_part(part)
        wanted: set[str] = set()
        while left:
            run_id = left.pop()
            wanted.add(run_id)
            start = runs[run_id].start
            left += [start] if start in runs else []
        return {run_id: config for run_id, config in runs.items() if run_id in wanted}

    def no_part(self, part: str) -> LoopscopeError:
        """The error that says which parts there are."""
        names = ", ".join(dict.fromkeys(p.part for p in self.points if p.part)) or "no parts"
        return LoopscopeError(f"grid {self.name} has no part {part!r}; it has {names}")


class UnknownGrid(LoopscopeError):
    """A name that is neither a shipped grid nor the path of a file."""


def find_grid(name_or_path: str) -> Path:
    """The file of a shipped grid, or the path itself.

    Raises:
        LoopscopeError: neither; with the nearest shipped name.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = {p.stem: p for p in sorted(SHIPPED.glob("*.yaml"))}
    if name_or_path in shipped:
        return shipped[name_or_path]
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise LoopscopeError(f"there is no file {path}")
    raise UnknownGrid(
        f"there is no grid {name_or_path!r}{nearest(name_or_path, shipped)}; shipped are "
        f"{', '.join(shipped)}; a path to a YAML file is also possible"
    )


def load_grid(name_or_path: str | Path, changes: Sequence[str] = ()) -> Grid:
    """A shipped grid or a file, expanded and checked as far as is possible without training.

    Args:
        changes: `path=value` for every run. What replaces an axis (the same path) leaves one
            value of it.

    Raises:
        ConfigError: everything that is wrong, with its places in the file.
        LoopscopeError: there is no such grid, or a change is no `path=value`.
    """
    path = find_grid(str(name_or_path))
    data, marks = load_yaml(path)
    if data is None:
        raise ConfigError([Problem(marks.find(()), (), "is empty; a grid has a `baseline`")])
    folders = (path.parent,)

    file, found = _structure(data, marks, path)
    try:
        combinations = expand(file, command_line_changes(changes), marks)
    except ConfigError as error:
        raise ConfigError(found + error.problems) from error
    points, wrong = _points(combinations, marks, folders)
    found += wrong + _contradictions(points, marks)
    if found:
        raise ConfigError(found)
    assert file.name is not None
    figures = tuple(
        {**fields, "kind": path_of(type(figure)) or figure.kind}
        for fields, figure in zip(data.get("figures", ()), file.figures, strict=True)
    )
    text = path.read_text(encoding="utf-8")
    whole = path.resolve()
    place = f"shipped {path.name}" if whole.parent == SHIPPED.resolve() else str(whole)
    drawn = tuple((marks.find(("figures", str(i))), f) for i, f in enumerate(file.figures))
    return Grid(file.name, file.title, figures, tuple(points), text, tuple(changes), place, drawn)


def _structure(data: Any, marks: Marks, path: Path) -> tuple[GridFile, list[Problem]]:
    """The grid file with its name, and what is wrong with its figures.

    Raises:
        ConfigError: anything else is wrong, so that no runs can be made of it.
    """

    def find(location: Location, key: bool) -> Mark:
        return marks.find(location, key=key)

    def read(fields: Any) -> GridFile:
        if isinstance(fields, dict) and fields.get("name") is None:
            fields = {**fields, "name": path.stem}
        return validate(GridFile, fields, find, folders=(path.parent,))

    try:
        file = read(data)
    except ConfigError as error:
        if any(problem.location[:1] != ("figures",) for problem in error.problems):
            raise
        return read({k: v for k, v in data.items() if k != "figures"}), error.problems
    return file, list(_unknown_parts(file, marks))


def _points(
    combinations: Sequence[Combination], marks: Marks, folders: tuple[Path, ...]
) -> tuple[list[GridPoint], list[Problem]]:
    """The points of all combinations that can be runs, in order, and the problems of the others."""
    fields: dict[int, dict[str, Any]] = {}
    wrong: dict[int, list[Problem]] = {i: [] for i in range(len(combinations))}
    for i, combination in enumerate(combinations):
        try:
            fields[i] = _fields(combination, marks)
        except ConfigError as error:
            wrong[i] += error.problems
    starts = {i: data.get("start") for i, data in fields.items()}
    references = {i: start for i, start in starts.items() if isinstance(start, dict)}
    targets, lost = targets_of(combinations, references)
    for i, message in lost.items():
        at = ("start",)
        mark = find_mark(combinations[i].changes, marks, at, False)
        wrong[i].append(Problem(mark, at, message))
    points: dict[int, GridPoint] = {}
    for i in starts_first(len(combinations), targets):
        if i not in fields:
            continue
        start = starts[i]
        if i in references:
            other = points.get(targets.get(i, -1))
            start = UNKNOWN if other is None else other.run_id
        try:
            points[i] = _point(combinations[i], fields[i], start, marks, folders)
        except ConfigError as error:
            wrong[i] += error.problems
    return [points[i] for i in sorted(points)], [p for i in wrong for p in wrong[i]]


def _fields(combination: Combination, marks: Marks) -> dict[str, Any]:
    """The fields of a run: the changes of a combination applied to an empty mapping.

    Raises:
        ConfigError: a path that leads nowhere.
    """
    data: dict[str, Any] = {}
    for change in combination.changes:
        try:
            data = with_value(data, change.path, change.value)
        except ValueError as error:
            mark = find_mark(combination.changes, marks, change.path, False)
            raise ConfigError([Problem(mark, change.path, str(error))]) from error
    return data


def _point(
    combination: Combination,
    data: dict[str, Any],
    start: Any,
    marks: Marks,
    folders: tuple[Path, ...],
) -> GridPoint:
    """The point of one combination.

    Raises:
        ConfigError: what is wrong with it.
    """

    def find(location: Location, key: bool = False) -> Mark:
        return find_mark(combination.changes, marks, location, key)

    named = data if start is None else {**data, "start": start}
    config = validate(RunConfig, named, find, folders=folders)
    wrong = [Problem(find(at), at, message) for at, message in problems(config)]
    for change in combination.varied:
        if not contains(data, change.path, change.value):
            message = "is overridden by a later axis or by --set, so that its label would be wrong"
            wrong.append(Problem(change.mark(marks), change.path, message))
    if wrong:
        raise ConfigError(wrong)
    return GridPoint(config, config.run_id, combination.part, combination.labels)


def _unknown_parts(file: GridFile, marks: Marks) -> Iterator[Problem]:
    """A problem for each figure that names a part that the grid lacks."""
    for i, figure in enumerate(file.figures):
        parts = (figure.part,) if isinstance(figure.part, str) else figure.part or ()
        for part in parts:
            if part not in file.parts:
                at = ("figures", str(i), "part")
                hint = nearest(part, file.parts)
                yield Problem(marks.find(at), at, f"there is no part {part!r}{hint}")


def _contradictions(points: Iterable[GridPoint], marks: Marks) -> list[Problem]:
    """The first problem of points that have one run id but differ in what the id leaves out."""
    first: dict[str, GridPoint] = {}
    for point in points:
        other = first.setdefault(point.run_id, point)
        same = (other.config.observe, type(other.config.task), type(other.config.model))
        if same != (point.config.observe, type(point.config.task), type(point.config.model)):
            message = (
                f"{other.part or other.labels} and {point.part or point.labels} are the same run "
                f"({point.run_id}) but differ in `observe` or in the file of a class"
            )
            return [Problem(marks.find(()), (), message)]
    return []
