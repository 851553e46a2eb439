"""The architecture: which room may import which, no circle of files, no folder too full.

A room is a folder or a file directly below `experiments/`, or one of the other top-level packages.
All imports count: those inside functions and under `TYPE_CHECKING`, and names in strings too.
"""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import experiments

ROOT = Path(experiments.__file__).parents[1]
PACKAGES = ("generators", "models", "probes", "experiments")
GROUND = {"errors", "text", "machine", "palette", "shadowing"}
DATA_AND_MODELS = {"generators", "models", "probes"}
ONE_RUN = {*GROUND, *DATA_AND_MODELS, "config", "runs"}
#: room -> the rooms it may import, from the ground up
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "text": set(),
    "palette": set(),
    "shadowing": set(),
    "machine": {"errors", "text"},
    "generators": set(),
    "models": set(),
    "probes": {"generators", "models"},
    "config": {*GROUND, *DATA_AND_MODELS},
    "runs": ONE_RUN - {"runs"},
    "measuring": ONE_RUN,
    "training": {*ONE_RUN, "measuring"},
    "results": ONE_RUN,
    "analysis": {*ONE_RUN, "results"},
    "grid": {*ONE_RUN, "analysis"} - {"runs"},  # of analysis, the contract of figures alone
    "planning": {*ONE_RUN, "measuring", "training", "grid"},
    "execution": {*ONE_RUN, "measuring", "training", "results", "grid", "planning"},
    "bench": {*ONE_RUN, "measuring", "training", "results", "grid", "execution"},
    "export": {*ONE_RUN, "measuring"},
    "examples": {"models"},
    "suite": {*ONE_RUN, "measuring", "results", "analysis", "grid", "execution"},
    "notebook": {*ONE_RUN, "measuring", "results", "analysis"},
    "runner": {"execution"},  # the old places of two public names
    "trained": {"measuring"},
}
MAY_IMPORT["cli"] = MAY_IMPORT.keys() - {"runner", "trained"}
MAY_IMPORT["loopscope"] = {"shadowing", "runs", "measuring", "results", "analysis", "grid"}
MAY_IMPORT["loopscope"] |= {"execution", "notebook", "cli"}
#: what `grid` may know of figures
CONTRACT = {"experiments.analysis.figures.figure"}
MOST_FILES = 15


def files() -> dict[str, Path]:
    """Module -> file, of all modules of the lab."""
    found = {"loopscope": ROOT / "loopscope.py"}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


FILES = files()


def room(module: str) -> str:
    first, *rest = module.split(".")
    return rest[0] if first == "experiments" and rest else first


def imports(module: str) -> Iterator[str]:
    """The modules of the lab that a module imports, anywhere in it."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            # a name that is no module is a name in its module
            found = name if name in FILES else name.rpartition(".")[0]
            if found in FILES and found != module:
                yield found


def named_in_strings(module: str) -> Iterator[str]:
    """Rooms of `experiments` that strings of a module name, documentation included."""
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for name in re.findall(r"\bexperiments[./]([a-z]+)\b", node.value):
                if name in MAY_IMPORT:
                    yield name


def test_every_room_is_in_the_table() -> None:
    assert {room(module) for module in FILES} - {"experiments"} == MAY_IMPORT.keys()


def test_the_table_points_down() -> None:
    """So no room can reach itself through others."""
    tuple(TopologicalSorter(MAY_IMPORT).static_order())


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_rooms_import_only_what_lies_below(name: str) -> None:
    wrong = {
        f"{module} -> {other}"
        for module in FILES
        if room(module) == name
        for other in imports(module)
        if other != "experiments" and room(other) not in MAY_IMPORT[name] | {name}
    }
    assert not wrong


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_no_string_names_a_higher_room(name: str) -> None:
    """A path that is loaded by name, or a docstring that explains a thing by its users."""
    higher = {other for other, below in MAY_IMPORT.items() if name in below}
    wrong = {
        f"{module} names {other}"
        for module in FILES
        if room(module) == name
        for other in named_in_strings(module)
        if other in higher
    }
    assert not wrong


def test_the_grid_knows_the_contract_of_figures_alone() -> None:
    known = {other for module in FILES if room(module) == "grid" for other in imports(module)}
    assert {other for other in known if room(other) == "analysis"} <= CONTRACT


def test_no_circle_of_files() -> None:
    graph = {module: set(imports(module)) for module in FILES}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_back_ends_do_not_know_each_other() -> None:
    place = "experiments.execution.backends"
    kinds = {f"{place}.{name}" for name in ("local", "ray", "slurm")}
    assert not {(one, other) for one in kinds for other in imports(one) if other in kinds}


@pytest.mark.parametrize("package", ["models", "experiments"])
def test_no_folder_is_too_full(package: str) -> None:
    folders = {path.parent for name, path in FILES.items() if name.split(".")[0] == package}
    sizes = {
        str(folder.relative_to(ROOT)): len(
            [p for p in folder.glob("*.py") if p.name != "__init__.py"]
        )
        for folder in folders
    }
    assert not {folder: size for folder, size in sizes.items() if size > MOST_FILES}


def test_the_page_on_architecture_names_every_room() -> None:
    text = (ROOT / "experiments" / "ARCHITECTURE.md").read_text()
    names = {name for name in MAY_IMPORT if name not in ("runner", "trained")}
    missing = {n for n in names if not re.search(rf"`(experiments/)?{n}(/|\.py)`", text)}
    assert not missing
