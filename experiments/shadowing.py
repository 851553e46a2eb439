"""Whether Python finds the packages of the lab under their names, or another's.

`models` and `experiments` are names that many projects use. Where one of them lies earlier on
Python's path, the lab would fail with an error about a module that is not there, or run what it
finds. So this is asked first; it is found out without importing anything. The module needs the
standard library alone and is also read by path, before `experiments` is trusted.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("experiments", "generators", "models", "probes")
#: the folder that holds the four packages
HOME = Path(__file__).resolve().parents[1]


class Shadowed(ImportError):
    """A package of the lab is hidden by another of its name."""


def check_packages(names: tuple[str, ...] = PACKAGES) -> None:
    """Nothing, where each of the packages is the one of this lab.

    Raises:
        Shadowed: one is not; where what stands in its place lies, and what to do.
    """
    for name in names:
        found = _place(name)
        if found is None or found == HOME / name:
            continue
        imported = "is imported already" if name in sys.modules else "is found"
        raise Shadowed(
            f"loopscope cannot work here: {found} {imported} as `{name}` in place of its own "
            f"{HOME / name}, {_remedy(found)}",
            name=name,
            path=str(found),
        )
    if replaced := [name for name in names if not _is_ours(HOME / name / "__init__.py")]:
        raise Shadowed(
            f"loopscope cannot work here: another package has written its own "
            f"{' and '.join(replaced)} over that of loopscope in {HOME}; install loopscope again "
            "in an environment of its own (python3 -m venv)",
            name=replaced[0],
        )


def _place(name: str) -> Path | None:
    """The folder, or the file of a module, that `import name` stands for; None: nothing known."""
    module = sys.modules.get(name)
    try:
        spec = find_spec(name) if module is None else module.__spec__
    except (ImportError, ValueError):
        spec = None
    origin = getattr(module, "__file__", None) or (spec.origin if spec else None)
    if origin is not None and os.path.exists(origin):
        path = Path(origin).resolve()
        return path.parent if path.name == "__init__.py" else path
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]).resolve() if folders else None


def _is_ours(init: Path) -> bool:
    """Whether the first line of a package says that it is the lab's."""
    try:
        with init.open(encoding="utf-8", errors="replace") as file:
            return "loopscope" in file.readline()
    except OSError:
        return False


def _remedy(found: Path) -> str:
    """Why Python takes what it found, and how to make it take the lab's."""
    entry = found.parent
    on_path = {Path(p).resolve() for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p}
    if entry in on_path:
        return f"because PYTHONPATH names {entry}: rename it, or take {entry} off PYTHONPATH"
    if entry.name in ("site-packages", "dist-packages"):
        return (
            f"because a package installed in {entry} brings it: uninstall that package, or "
            "install loopscope in an environment of its own (python3 -m venv)"
        )
    if _is_ours(found / "__init__.py"):
        return f"another copy of loopscope: install one of the two, or take {entry} off the path"
    if sys.path and entry == Path(sys.path[0]).resolve():
        return "since Python looks beside what it runs first: rename it, or work in another folder"
    return f"because sys.path holds {entry}: rename it, or take {entry} off the path"
