"""How the frozen configs of two runs differ."""

from pathlib import Path
from typing import Any

from experiments.errors import LoopscopeError
from experiments.results.records import left_out
from experiments.runs.folder import RunFolder
from experiments.runs.integrity import completed, config_problem
from experiments.runs.schema_version import read_current


def flat(data: Any, path: str = "") -> dict[str, Any]:
    """Dotted path -> value, for everything that is no mapping and no list (or an empty one)."""
    if isinstance(data, dict) and data:
        entries = [(str(k), v) for k, v in data.items()]
    elif isinstance(data, list) and data:
        entries = [(str(i), v) for i, v in enumerate(data)]
    else:
        return {path: data}
    found: dict[str, Any] = {}
    for key, value in entries:
        found |= flat(value, f"{path}.{key}" if path else key)
    return found


def differences(first: Path, second: Path) -> list[tuple[str, str, str]]:
    """(field, value in the first, value in the second) of two frozen configs.

    Fields that are younger than a config have their default in it.

    Raises:
        LoopscopeError: a folder without a readable config, or with that of another run.
    """
    return differing(_config(first), _config(second))


def differing(first: Any, second: Any) -> list[tuple[str, str, str]]:
    """(dotted path, value in the first, value in the second) of nested data; – where one lacks it.

    >>> differing({"model": {"core": 1, "loops": 4}}, {"model": {"core": 1, "loops": 6}})
    [('model.loops', '4', '6')]
    >>> differing({}, {"loops": 6})
    [('loops', '–', '6')]
    """
    one, two = (flat(data) if data else {} for data in (first, second))
    return [
        (name, str(one.get(name, "–")), str(two.get(name, "–")))
        for name in dict.fromkeys([*one, *two])
        if name not in one or name not in two or one[name] != two[name]
    ]


def _config(folder: Path) -> dict[str, Any]:
    config = read_current(folder / "config.json")
    if config is None:
        raise LoopscopeError(f"{folder} has no readable config.json")
    problem, _ = config_problem(folder.name, config, RunFolder(folder).result() or {})
    if problem:
        raise LoopscopeError(left_out(folder.name, problem))
    return completed(config)
