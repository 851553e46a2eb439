"""What a run was computed with, so that a resumed run is the same run or is refused.

Sources are compared file by file. A file that was added is no difference: nothing that the run
used can have changed without one of its own files changing.
"""

import ast
import importlib.util
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import experiments
import generators
import models
from experiments.config.run import RunConfig
from experiments.machine import device_name, processor_name
from experiments.runs.folder import RunFolder
from experiments.runs.moved_files import file_hash

#: folders and files of `experiments` that decide weights
TRAINING = ("config", "training", "runs/checkpoint.py")
VERSIONS = ("torch", "numpy")
LAB = ("generators", "models", "probes", "experiments")
#: where Python and installed packages lie
INSTALLED = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]


def _root(package: Any) -> Path:
    return Path(package.__file__).parent


def _python_files(place: Path) -> Iterable[Path]:
    """The file itself, or the Python files of the folder and of those below it."""
    return place.rglob("*.py") if place.is_dir() else [place]


def _hashes(root: Path, files: Iterable[Path]) -> dict[str, str]:
    return {str(path.relative_to(root.parent)): file_hash(path) for path in sorted(files)}


@cache
def source_hashes() -> dict[str, dict[str, str]]:
    """Group -> file -> SHA-256 (16 digits) of the code and data that decide weights."""
    data, code = _root(generators), _root(models)
    here = _root(experiments)
    return {
        "generators": _hashes(data, data.rglob("*.py")),
        "pools": _hashes(data, [p for p in data.rglob("*.txt") if p.is_file()]),
        "models": _hashes(code, code.rglob("*.py")),
        "training": _hashes(here, [p for name in TRAINING for p in _python_files(here / name)]),
    }


def plugin_files(config: RunConfig) -> dict[str, Path]:
    """Files from elsewhere that the run's task, model or objective comes from, and what they use.

    They are known by name, wherever they lie; a second one of a name by its folder too.
    """
    parts = (config.task, *config.task.parts.values(), config.model, config.objective)
    waiting = [base.__module__ for part in parts for base in type(part).__mro__]
    seen: set[str] = set()
    files: dict[str, Path] = {}
    while waiting:
        name = waiting.pop(0)
        path = _own_file(name)
        if name in seen or path is None:
            continue
        seen.add(name)
        known = path.name if path.name not in files else f"{path.parent.name}/{path.name}"
        files[known] = path
        waiting += _imports(path, sys.modules[name].__package__)
    return files


def _own_file(module: str) -> Path | None:
    """The source of a module that is neither ours nor installed."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not file.endswith(".py") or module.split(".")[0] in LAB:
        return None
    installed = any(Path(file).is_relative_to(folder) for folder in INSTALLED)
    return None if installed else Path(file)


def _imports(path: Path, package: str | None) -> Iterator[str]:
    """Modules that a file may import, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(name, package) if node.level else name
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@cache
def source_commit(root: Path | None = None) -> str | None:
    """The commit that the code is checked out at, `-dirty` where files differ from it.

    None where it is no checkout or git cannot say. For people: drift is told by the hashes.
    """
    root = root or _root(experiments).parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        found = subprocess.run(
            [*command, "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # leaves the checkout alone
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def environment(config: RunConfig, device: str = "cpu") -> dict[str, Any]:
    """The content of environment.json; needs no torch."""
    plugins = {name: file_hash(path) for name, path in plugin_files(config).items()}
    return {
        "versions": {"python": sys.version.split()[0]} | {p: _version(p) for p in VERSIONS},
        "sources": source_hashes() | {"plugins": plugins},
        "commit": source_commit(),
        "machine": {
            "platform": platform.platform(),
            "processor": processor_name(),
            "accelerator": device_name(device) if device.startswith("cuda") else None,
            "cores": os.cpu_count(),
            "device": device,
        },
    }


def drift(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two environments that may change weights, one phrase each."""
    found = []
    for package in VERSIONS:
        old, new = then["versions"].get(package), now["versions"].get(package)
        if old != new:
            found.append(f"{package} was {old} and is {new}")
    for group, files in then["sources"].items():
        for name, digest in files.items():
            current = now["sources"].get(group, {}).get(name)
            if current is None:
                found.append(f"{group}: {name} is gone")
            elif current != digest:
                found.append(f"{group}: {name} changed")
    return found


def drift_of(folder: RunFolder, now: dict[str, Any]) -> list[str]:
    """What changed since the run began; a lost environment.json counts as a change."""
    then = folder.environment()
    return ["environment.json is missing"] if then is None else drift(then, now)


def drift_message(changes: dict[str, list[str]]) -> str:
    """What changed, by run, and what can be done about it."""
    lines = [f"  {run_id}: {'; '.join(found)}" for run_id, found in changes.items()]
    return (
        "resuming would mix two versions of the lab in one run:\n"
        + "\n".join(lines)
        + "\nrestore the old version, add --allow-drift to go on all the same, "
        "or remove the run's folder to start it anew"
    )
