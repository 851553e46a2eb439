"""A few documents of a task, as a person would want to read them."""

import textwrap
from collections.abc import Iterable

from experiments.config.phases import Frozen
from experiments.config.run import AnyProbe, AnyTask
from experiments.errors import LoopscopeError, wrap_plugin_error
from experiments.grid.changes import Change, command_line_changes, find_mark, with_value
from experiments.grid.grid import Grid, find_grid, load_grid
from experiments.grid.located_yaml import Mark, Marks, parse_yaml
from experiments.grid.size_limits import impossible_world
from experiments.grid.validation import validate
from generators.plugins import choices
from generators.streams import Stream, generator
from generators.task import Batch, Task
from probes.probe import Probe

WIDTH = 96


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
    name: str, overrides: Iterable[str], *, part: str | None, seed: int | None
) -> dict[str, Task]:
    """Title -> bound task: of a kind, or of each part of a grid.

    Args:
        overrides: fields of the task, or of the grid's runs.
        seed: None: 0, or that of the grid's first run.

    Raises:
        LoopscopeError: `name` is neither, the part is unknown, or a field is wrong.
    """
    kinds = choices(Task, "generators")
    if ":" in name or name in kinds:
        return {name: _task(name, overrides).bind(seed or 0)}
    try:
        grid = load_grid(find_grid(name), list(overrides))
    except LoopscopeError as error:
        if "there is no grid" in str(error):
            raise LoopscopeError(f"{error}; kinds of task are {', '.join(kinds)}") from error
        raise
    return _first_of_each_part(grid, part, seed)


def _task(kind: str, overrides: Iterable[str]) -> Task:
    changes = [Change(("task", "kind"), kind, Mark(f"task {kind}"))]
    for change in command_line_changes(overrides):
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
    found: dict[str, Task] = {}
    for point in grid.points:
        title = ": ".join(filter(None, (grid.name, point.part)))
        if part in (None, point.part) and title not in found:
            changes = {} if seed is None else {"seed": seed}
            found[title] = point.config.model_copy(update=changes).bound_task()
    if not found:
        names = ", ".join(dict.fromkeys(p.part for p in grid.points if p.part)) or "no parts"
        raise LoopscopeError(f"grid {grid.name} has no part {part!r}; it has {names}")
    return found


def describe(title: str, task: Task, *, n: int, split: str, difficulty: int | None) -> str:
    """Documents with what is scored, then floors.

    Raises:
        LoopscopeError: a split or difficulty that the task lacks, or no documents asked for.
    """
    if n < 1:
        raise LoopscopeError(f"--n needs 1 or more, got {n}")
    step = 1 + task.splits.index(split) if split in task.splits else 0
    try:
        rng = generator(task.seed, Stream.EVALUATION, step)
        batch = task.sample(rng, n, split=split, difficulty=difficulty)
        floors = _floors(task, split, difficulty)
        lines = [title if title == task.kind else f"{title} ({task.kind})", *_facts(task)]
        for row in range(len(batch)):
            lines += ["", *document(task, batch, row)]
    except ValueError as error:
        raise LoopscopeError(str(error)) from error
    except Exception as error:  # whatever a plugin does wrong
        raise wrap_plugin_error(f"task {task.kind}: a sample of {n}", error) from error
    return "\n".join([*lines, *(["", *floors] if floors else [])])


def _facts(task: Task) -> list[str]:
    facts = [
        f"{len(task.vocabulary)} tokens in the vocabulary, "
        f"{task.context_length} in the longest document"
    ]
    if (bits := task.information_bits()) is not None:
        facts.append(f"{bits:,.0f} bits about the world")
    return facts


def _floors(task: Task, split: str, difficulty: int | None) -> list[str]:
    """One line per difficulty of the split."""
    known = task.difficulties_of(split) if difficulty is None else (difficulty,)
    lines = []
    for d in known or (None,):
        name = "" if d is None else f" at {task.difficulty_name} {d}"
        floors, oracle = task.floors(d, split), task.oracle_floors(d, split)
        for title, found in (("floors", floors), ("with the held-out answers known", oracle)):
            if found and (found is floors or found != floors):
                values = ", ".join(f"{k} {v:.4f}" for k, v in found.items())
                lines.append(f"{title}{name}: {values}")
    return lines


def document(task: Task, batch: Batch, row: int) -> list[str]:
    """The text with its answer in brackets, which tokens are scored, and what the spans hold."""
    tokens, scored = batch.tokens[row], batch.loss_mask[row]
    length = int((tokens != 0).sum())
    words = [task.vocabulary.text(t) for t in tokens[:length]]
    start, stop = batch.spans["answer"][row] if "answer" in batch.spans else (-1, -1)
    if start >= 0:
        words[start] = "[" + words[start]
        words[stop - 1] += "]"
    if scored[1:length].all():
        under = ["scored: every token after the first"]
        text = textwrap.wrap(" ".join(words), WIDTH, initial_indent="  ", subsequent_indent="  ")
    else:
        text, under = _underlined(words, scored[:length].tolist()), []
    spans = (
        f"{name}: {task.vocabulary.decode(tokens[a:b])}"
        for name, (a, b) in ((k, v[row]) for k, v in batch.spans.items())
        if a >= 0
    )
    latents = (f"{name} {values[row]}" for name, values in batch.latents.items())
    return [
        *text,
        *(f"    {line}" for line in [*under, *spans]),
        *textwrap.wrap(
            "latents: " + ", ".join(latents),
            WIDTH,
            initial_indent="    ",
            subsequent_indent="      ",
        ),
    ]


def _underlined(words: list[str], scored: list[bool]) -> list[str]:
    """The words with carets under the scored ones, in lines of at most WIDTH columns."""
    lines: list[list[int]] = [[]]
    for i in range(len(words)):
        if sum(len(words[j]) + 1 for j in lines[-1]) + len(words[i]) > WIDTH and lines[-1]:
            lines.append([])
        lines[-1].append(i)
    found = []
    for line in lines:
        found.append("  " + " ".join(words[i] for i in line))
        carets = " ".join(("^" if scored[i] else " ") * len(words[i]) for i in line).rstrip()
        if carets:
            found.append("  " + carets)
    return found
