"""Where results are read from: a folder of runs, with an index or without, or an archive of one.

In a folder a run that is done is read from the index if none of its files has changed since, all
others from their own files: the same numbers either way.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.results.archive import is_archive, read_archive
from experiments.results.index import INDEX, Index, read_index, stamp_of
from experiments.results.records import Point, Record, points_of
from experiments.runs.folder import RunFolder, as_config
from experiments.runs.output import OUTPUT_FILE, run_folders
from experiments.runs.schema_version import read_current

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """Results, read only.

    Attributes:
        grids: name -> record; None where it is damaged.
        archived: whether `index` is all there is.
        problem: why an index that is there is not used.
    """

    path: Path
    grids: dict[str, dict[str, Any] | None]
    index: Index | None = None
    archived: bool = False
    problem: str = ""

    @cached_property
    def run_ids(self) -> list[str]:
        """Of every run that is here, sorted."""
        if self.archived and self.index is not None:
            return sorted(self.index.stamps)
        return [folder.run_id for folder in run_folders(self.path)]

    def points(self, grid: str | None = None) -> list[Point]:
        """The points of one grid in its order, or of all grids and then the runs outside them.

        Raises:
            LoopscopeError: there is no such grid (with those there are), or a damaged record.
        """
        if grid is not None and grid not in self.grids:
            names = ", ".join(self.grids) or "none"
            raise LoopscopeError(f"{self.path} has no results of a grid {grid!r}; it has {names}")
        points: list[Point] = []
        for name in self.grids if grid is None else [grid]:
            points += points_of(name, self.grids[name], self.path / "grids" / f"{name}.json")
        if grid is None:
            placed = {p.run_id for p in points}
            points += [Point(run_id) for run_id in self.run_ids if run_id not in placed]
        return points

    def indexed(self, run_ids: Iterable[str]) -> list[str]:
        """Those of the runs that are read from the index."""
        if self.index is None:
            return []
        stamps = self.index.stamps
        known = [run_id for run_id in run_ids if run_id in stamps]
        if self.archived:
            return known
        done = {r for r, state in self.index.states.items() if state == "done"}
        return [r for r in known if r in done and stamps[r] == stamp_of(self.path / r)]

    def records(self, run_ids: Iterable[str]) -> dict[str, Record]:
        """run id -> what is known of it, in the order given."""
        names = list(dict.fromkeys(run_ids))
        known = self._indexed(Index.records, names)
        return {name: known.get(name) or self._read(name) for name in names}

    def _indexed(
        self, read: Callable[[Index, list[str]], dict[str, T]], run_ids: list[str]
    ) -> dict[str, T]:
        try:
            return {} if self.index is None else read(self.index, self.indexed(run_ids))
        except ValueError as error:
            again = "archive OUT" if self.archived else f"index {self.path}"
            raise LoopscopeError(
                f"{self.path} is damaged ({error}); `loopscope {again}` makes it again"
            ) from error

    def _read(self, run_id: str) -> Record:
        return Record(run_id) if self.archived else Record.read(RunFolder(self.path / run_id))

    def config(self, run_id: str) -> RunConfig:
        """The frozen config of a run.

        Raises:
            LoopscopeError: there is none, or it is not of this version of loopscope.
        """
        if not self.archived:
            return RunFolder(self.path / run_id).config()
        return as_config(self.records([run_id])[run_id].config, f"{self.path}: config of {run_id}")

    def metrics(self, run_ids: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        """run id -> lines of its metrics.jsonl."""
        names = list(dict.fromkeys(run_ids))
        known = self._indexed(Index.metrics, names)
        others = [] if self.archived else [name for name in names if name not in known]
        return known | {name: RunFolder(self.path / name).metrics() for name in others}

    def read_from(self, run_ids: Iterable[str]) -> str:
        """For people: where these runs are read from.

        >>> Source(Path("runs"), {}).read_from(["a", "b"])
        'runs: 2 runs read from their folders'
        """
        names = list(dict.fromkeys(run_ids))
        if self.archived:
            return f"{self.path}: {_count(names)} read from the archive"
        indexed = self.indexed(names)
        parts = [f"{_count(indexed)} read from {INDEX}"] if indexed else []
        if len(indexed) < len(names) or not indexed:
            parts.append(f"{_count(names[len(indexed) :])} read from their folders")
        problem = f" ({self.problem})" if self.problem else ""
        return f"{self.path}: {', '.join(parts)}{problem}"


def _count(runs: list[str]) -> str:
    return f"{len(runs)} run{'s' * (len(runs) != 1)}"


def open_source(path: Path | str) -> Source:
    """The results in a folder or in an archive.

    Raises:
        LoopscopeError: there is neither, or it is damaged or of a newer version.
    """
    path = Path(path)
    if is_archive(path):
        index, grids = read_archive(path)
        return Source(path, grids, index, archived=True)
    if not path.is_dir():
        raise LoopscopeError(f"{path} is no folder; `loopscope run GRID --out {path}` makes one")
    read_current(path / OUTPUT_FILE)
    files = sorted(path.glob("grids/*.json"))
    index, problem = read_index(path)
    return Source(
        path, {f.stem: read_current(f, "grid.json") for f in files}, index, problem=problem
    )
