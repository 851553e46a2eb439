"""What a run was computed with, so that a resumed run is the same run or is refused.

Sources are compared file by file. A file that was added is no difference: nothing that the run
used can have changed without one of its own files changing.
"""

import ast
import hashlib
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
from experiments.runs.record_checks import Code, is_code

#: folders and files of `experiments` that decide weights
TRAINING = ("config", "training", "runs/checkpoint.py")
VERSIONS = ("torch", "numpy")
LAB = ("generators", "models", "probes", "experiments")
#: where Python and packages of this environment lie
INSTALLED = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
#: folders of packages, also of a user and of an environment that this one builds on
PACKAGES = {"site-packages", "dist-packages"}


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
    """Files from elsewhere that its task, model or objective comes from, and what they use."""
    return files_of((config.task, *config.task.parts.values(), config.model, config.objective))


def files_of(parts: Iterable[object]) -> dict[str, Path]:
    """Files from elsewhere that these objects' classes come from, and what they use.

    They are known by name, wherever they lie; a second one of a name by its folder too.
    """
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


def own_code(config: RunConfig) -> Code:
    """What is in the `plugin_files` of a run."""
    return code_in(plugin_files(config))


def code_in(files: dict[str, Path]) -> Code:
    """Hashes of each file's text and of its syntax, of which comments and layout are no part."""
    return {name: [file_hash(path), _syntax_hash(path)] for name, path in files.items()}


def _syntax_hash(path: Path) -> str:
    syntax = ast.dump(ast.parse(path.read_bytes()))
    return hashlib.sha256(syntax.encode()).hexdigest()[:16]


def _own_file(module: str) -> Path | None:
    """The source of a module that is neither ours nor installed."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not file.endswith(".py") or module.split(".")[0] in LAB:
        return None
    path = Path(file)
    installed = any(path.is_relative_to(folder) for folder in INSTALLED)
    return None if installed or PACKAGES & {*path.parts} else path


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
    code = own_code(config)
    return {
        "versions": {"python": sys.version.split()[0]} | {p: _version(p) for p in VERSIONS},
        "sources": source_hashes() | {"plugins": {name: text for name, (text, _) in code.items()}},
        "syntax": {name: syntax for name, (_, syntax) in code.items()},
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
            elif current != digest and not (group == "plugins" and _same_syntax(then, now, name)):
                found.append(f"{group}: {name} changed")
    return found


def _same_syntax(then: dict[str, Any], now: dict[str, Any], name: str) -> bool:
    """Whether two texts of somebody's file differ in comments and layout alone."""
    old, new = (environment.get("syntax", {}).get(name) for environment in (then, now))
    return old is not None and old == new


def known_code(environment: dict[str, Any] | None, result: dict[str, Any]) -> Code:
    """The files from elsewhere that a run was computed with, as its result or environment says."""
    if "own_code" in result:
        return result["own_code"]
    sources = (environment or {}).get("sources")
    texts = sources.get("plugins") if isinstance(sources, dict) else None
    syntax = (environment or {}).get("syntax")
    if not isinstance(texts, dict):
        return {}
    syntax = syntax if isinstance(syntax, dict) else {}
    code = {name: [text, syntax.get(name, "")] for name, text in texts.items()}
    return code if is_code(code) else {}


def differing(then: Code, now: Code) -> list[str]:
    """The files of a run that are others now, in more than comments and layout; none if unknown."""
    return sorted(
        name
        for name, codes in then.items()
        if not set(filter(None, codes)) & set(now.get(name, ()))
    )


def changed_code(folder: RunFolder, config: RunConfig) -> list[str]:
    """The files of its task, model or objective that are others now than when a run was trained."""
    now = own_code(config)
    return differing(known_code(folder.environment(), folder.result() or {}), now) if now else []


def changed_message(changes: dict[str, list[str]], what: str) -> str:
    """That finished runs are of other code than their files hold now, and what can be done.

    Args:
        changes: run id -> the files.
        what: what would happen.
    """
    files = ", ".join(sorted({name for names in changes.values() for name in names}))
    runs, more = list(changes)[:5], len(changes) - 5
    told = ", ".join(runs) + (f" and {more} more" if more > 0 else "")
    return (
        f"{files} changed since {told} {'was' if len(changes) == 1 else 'were'} trained, and the "
        f"`version` of the class stayed: {what}\nraise `version` there, so that the new code makes "
        "other runs; or restore the file as it was; or remove these runs to train them anew; or "
        "add --allow-drift to leave all as it is"
    )


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
