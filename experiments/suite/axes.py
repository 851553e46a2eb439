"""The axes of the card: one folder each, with what is trained and how it is scored.

A folder `AXIS/` holds `score.py` and, for every size at which the axis is measured, an ordinary
grid file `SIZE.yaml` for any model. `score.py` has

* a docstring, whose first line says what the axis is about;
* `score(runs: Results) -> Score`, a pure function of the runs of one architecture;
* `TAG`, one of `TAGS`, by which axes stand together, and `PROBES`, kinds of probes of which one
  measures it in every grid;
* `GRID`, the axis whose runs are scored, where it trains none of its own.
"""

import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from experiments.errors import LoopscopeError
from experiments.results.long_table import Results
from experiments.suite.score import Score
from generators.plugins import nearest

HERE = Path(__file__).parent
SIZES = ("tiny", "small", "gpu")
#: groups of axes, in the order of the card
TAGS = ("storing", "composing", "computing", "looping")


@dataclass(frozen=True)
class Axis:
    """One axis of the card.

    Attributes:
        about: a line for people.
        grid: the axis whose folder has the grid files.
        probes: kinds of probes, of which a grid has one that measures it.
        score: from the runs of one architecture in that grid.
    """

    name: str
    about: str
    tag: str
    grid: str
    probes: tuple[str, ...]
    score: Callable[[Results], Score]

    def file(self, size: str) -> Path:
        """The grid file of a size, which may be missing."""
        return HERE / self.grid / f"{size}.yaml"

    @property
    def title(self) -> str:
        """The name as people read it."""
        return self.name.replace("_", " ")


@cache
def axes() -> dict[str, Axis]:
    """Name -> axis, by group and then by name."""
    found = []
    for module in pkgutil.iter_modules([str(HERE)]):
        if module.ispkg and (HERE / module.name / "score.py").is_file():
            part = import_module(f"{__package__}.{module.name}.score")
            about = (part.__doc__ or "").partition("\n")[0]
            grid = getattr(part, "GRID", module.name)
            found.append(Axis(module.name, about, part.TAG, grid, part.PROBES, part.score))
    return {axis.name: axis for axis in sorted(found, key=lambda a: (TAGS.index(a.tag), a.name))}


def chosen(names: Iterable[str] | None, size: str) -> list[Axis]:
    """The axes of a card; without names all that have a grid of the size.

    Raises:
        LoopscopeError: there is no such size or axis, or the axis has no grid of that size.
    """
    if size not in SIZES:
        raise LoopscopeError(
            f"--size {size}: needs one of {', '.join(SIZES)}{nearest(size, SIZES)}"
        )
    known = axes()
    if names is None:
        return [axis for axis in known.values() if axis.file(size).is_file()]
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in known:
            raise LoopscopeError(
                f"there is no axis {name!r}{nearest(name, known)}; there are {', '.join(known)}"
            )
        if not known[name].file(size).is_file():
            has = [s for s in SIZES if known[name].file(s).is_file()]
            raise LoopscopeError(f"axis {name} has no size {size}; it has {', '.join(has)}")
    return [axis for axis in known.values() if axis.name in wanted]
