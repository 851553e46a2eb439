"""What a grid asked: its file where it is known, its axes, and the command that runs it."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import LoopscopeError
from experiments.grid.grid import SHIPPED, load_grid
from experiments.results.source import open_source
from experiments.text import TextTable


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

    def command(self, verb: str, out: str, *more: str) -> str:
        """`loopscope VERB GRID … --out OUT`."""
        return shlex.join(["loopscope", verb, self.file, *more, "--out", out])


def asked(out: Path, name: str) -> Asked:
    """The grid as its results remember it, which `load_runs` could read."""
    record = open_source(out).grids[name] or {}
    points = record.get("points", [])
    values: dict[tuple[str, str], dict[str, None]] = {}
    for point in points:
        for axis, label in point["labels"].items():
            values.setdefault((point["part"], axis), {})[label] = None
    rows = [(part or "all", axis, " | ".join(known)) for (part, axis), known in values.items()]
    source, overrides = str(record.get("source", "")), record.get("overrides", ())
    shipped = SHIPPED / f"{name}.yaml"
    text = shipped.read_text(encoding="utf-8") if shipped.is_file() else ""
    if not source and text and _asks_the_same(name, points):
        source = text
    return Asked(
        name,
        str(record.get("title", "")),
        source,
        name if source and source == text else f"{name}.yaml",
        tuple(map(str, overrides)),
        tuple(record.get("figures", ())),
        TextTable("Axes", ("part", "axis", "values"), tuple(rows)),
    )


def _asks_the_same(name: str, points: list[dict[str, Any]]) -> bool:
    """Whether the shipped grid of that name expands to just these points."""
    try:
        expanded = load_grid(name).points
    except LoopscopeError:
        return False
    return [{"run_id": p.run_id, "part": p.part, "labels": p.labels} for p in expanded] == points
