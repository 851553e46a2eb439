"""What a grid asked: its file where it is known, its axes, and the command that runs it."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from experiments.text import TextTable

#: shipped grids as the project's own tables follow each other; others come after them
ORDER = (
    *("headline", "ladder", "curriculum", "staircase", "capacity", "saturation"),
    *("compute_matched", "objectives", "precision", "exits", "caches", "inside", "growth"),
    *("junk", "load", "quick"),
)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of grids: shipped ones as in `ORDER`, then the others as they come."""
    return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


@dataclass(frozen=True)
class Shipped:
    """A grid that comes with loopscope: its file, and its points as records of grids hold them."""

    text: str
    points: list[dict[str, Any]]


@dataclass(frozen=True)
class Asked:
    """A grid as recorded among its results.

    Attributes:
        source: the YAML; empty where it is not known.
        file: what the command line calls the grid: a shipped name, or a file.
        overrides: `path=value`, as given to `--set`.
        figures: their fields, as in the grid file.
    """

    name: str
    title: str
    source: str
    file: str
    overrides: tuple[str, ...]
    figures: tuple[dict[str, Any], ...]
    axes: TextTable

    @property
    def question(self) -> str:
        """The comment at the head of the file."""
        lines = []
        for line in self.source.splitlines():
            if not line.startswith("#"):
                break
            lines.append(line.lstrip("#").strip())
        return " ".join(filter(None, lines))

    @property
    def shipped(self) -> bool:
        """Whether the command line knows it by name."""
        return self.file == self.name

    @property
    def settings(self) -> list[str]:
        """The overrides as words of the command line."""
        return [word for text in self.overrides for word in ("--set", text)]

    def command(self, verb: str, out: str, *more: str) -> str:
        """`loopscope VERB GRID … --out OUT`."""
        return shlex.join(["loopscope", verb, self.file, *more, "--out", out])


def asked(name: str, record: dict[str, Any] | None, shipped: Shipped | None = None) -> Asked:
    """The grid as its results remember it.

    Args:
        record: of `Source.grids`.
        shipped: the grid that the command line knows by this name.
    """
    record = record or {}
    points = record.get("points", [])
    values: dict[tuple[str, str], dict[str, None]] = {}
    for point in points:
        for axis, label in point["labels"].items():
            values.setdefault((point["part"], axis), {})[label] = None
    rows = [(part or "all", axis, " | ".join(known)) for (part, axis), known in values.items()]
    source = str(record.get("source", ""))
    if not source and shipped and shipped.points == points:
        source = shipped.text
    known = shipped is not None and source != "" and source == shipped.text
    return Asked(
        name,
        str(record.get("title", "")),
        source,
        name if known else f"{name}.yaml",
        tuple(map(str, record.get("overrides", ()))),
        tuple(record.get("figures", ())),
        TextTable("Axes", ("part", "axis", "values"), tuple(rows)),
    )
