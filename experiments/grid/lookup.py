"""Tasks and probes that a command names: by kind, with settings, or as those of a grid."""

from collections.abc import Iterable

from experiments.config.frozen import Frozen
from experiments.config.run import AnyProbe, AnyTask
from experiments.errors import LoopscopeError
from experiments.grid.changes import Change, command_line_changes, find_mark, with_value
from experiments.grid.grid import Grid, find_grid, load_grid
from experiments.grid.located_yaml import Mark, Marks, parse_yaml
from experiments.grid.size_limits import impossible_world
from experiments.grid.validation import validate
from generators.plugins import choices
from generators.task import Task
from probes.probe import Probe


class _OneTask(Frozen):
    task: AnyTask


class _OneProbe(Frozen):
    probe: AnyProbe


def probe_of(text: str) -> Probe:
    """The probe of a kind, or of a YAML mapping with settings.

    Raises:
        LoopscopeError: an unknown kind or setting, or no YAML.
    """
    source = f"--probe {text}"
    data, _ = parse_yaml(text, source)
    fields = {"probe": {"kind": data} if isinstance(data, str) else data}
    return validate(_OneProbe, fields, lambda at, key: Mark(source)).probe


def tasks_of(
    name: str, changes: Iterable[str], *, part: str | None, seed: int | None
) -> dict[str, Task]:
    """Title -> bound task: of a kind, or of each part of a grid.

    Args:
        changes: `path=value` for fields of the task, or of the grid's runs.
        seed: None: 0, or that of the grid's first run.

    Raises:
        LoopscopeError: `name` is neither, the part is unknown, or a field is wrong.
    """
    kinds = choices(Task, "generators")
    if ":" in name or name in kinds:
        return {name: _task(name, changes).bind(seed or 0)}
    try:
        grid = load_grid(find_grid(name), list(changes))
    except LoopscopeError as error:
        if "there is no grid" in str(error):
            raise LoopscopeError(f"{error}; kinds of task are {', '.join(kinds)}") from error
        raise
    return _first_of_each_part(grid, part, seed)


def task_of(name: str, changes: Iterable[str], *, part: str | None, seed: int | None) -> Task:
    """The only one of `tasks_of`.

    Raises:
        LoopscopeError: there are several, or none can be made.
    """
    found = tasks_of(name, changes, part=part, seed=seed)
    if len(found) > 1:
        raise LoopscopeError(f"{name} has several tasks: {', '.join(found)}; choose with --part")
    (task,) = found.values()
    return task


def _task(kind: str, texts: Iterable[str]) -> Task:
    """The task of a kind with changed fields."""
    changes = [Change(("task", "kind"), kind, Mark(f"task {kind}"))]
    for change in command_line_changes(texts):
        changes.append(Change(("task", *change.path), change.value, change.origin))
    data = {}
    for change in changes:
        try:
            data = with_value(data, change.path, change.value)
        except ValueError as error:
            raise LoopscopeError(f"{change.origin}: {error}") from error
    marks = Marks(values={(): Mark(f"task {kind}")})
    task = validate(_OneTask, data, lambda at, key: find_mark(changes, marks, at, key)).task
    if message := impossible_world(task):
        raise LoopscopeError(message)
    return task


def _first_of_each_part(grid: Grid, part: str | None, seed: int | None) -> dict[str, Task]:
    """Title -> the task of the first point of each part, or of one part."""
    found: dict[str, Task] = {}
    for point in grid.points:
        title = ": ".join(filter(None, (grid.name, point.part)))
        if part in (None, point.part) and title not in found:
            changes = {} if seed is None else {"seed": seed}
            found[title] = point.config.model_copy(update=changes).bound_task()
    if not found:
        raise grid.no_part(part or "")
    return found
