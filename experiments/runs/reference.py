"""The results that come with loopscope, by short names: `reference:headline`.

They are read only: what is made of them goes into the current folder.
"""

from pathlib import Path

from experiments.errors import LoopscopeError
from generators.plugins import nearest

REFERENCE = Path(__file__).parents[1] / "reference"
PREFIX = "reference:"


def reference_results() -> dict[str, Path]:
    """Name -> folder or archive."""
    folders = (path.parent for path in REFERENCE.glob("*/loopscope.json"))
    return {path.stem: path for path in sorted([*folders, *REFERENCE.glob("*.zip")])}


def is_reference(out: Path | str) -> bool:
    """Whether results are named by a short name, rather than by their place."""
    return str(out).startswith(PREFIX)


def place_of(out: Path | str) -> Path:
    """The folder or archive that `reference:NAME` stands for; any other path is itself.

    Raises:
        LoopscopeError: there are no such results; with those there are.
    """
    if not is_reference(out):
        return Path(out)
    name, known = str(out).removeprefix(PREFIX), reference_results()
    if name not in known:
        there = ", ".join(known) or "none: this installation came without them"
        raise LoopscopeError(
            f"there are no reference results {name!r}{nearest(name, known)}; there are {there}"
        )
    return known[name]


def name_of(place: Path) -> str:
    """What one types for results: `reference:NAME` of those that come along, else their path."""
    known = {path.resolve(): f"{PREFIX}{name}" for name, path in reference_results().items()}
    return known.get(place.resolve(), str(place))


def read_only(out: Path | str) -> str:
    """Why nothing is written to reference results, for the commands that would."""
    return f"{out} comes with loopscope and is read only; copy {place_of(out)} and work on the copy"
