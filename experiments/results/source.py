"""The source of results: a folder of runs, or an archive of one with the same numbers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.results.archive import is_archive, read_archive
from experiments.results.parquet import RunTables
from experiments.results.records import Point, Record, points_of, whole_grid
from experiments.runs.folder import RunFolder, as_config
from experiments.runs.integrity import lines_problem
from experiments.runs.moved_files import found_again
from experiments.runs.output import OUTPUT_FILE, folders_with_results
from experiments.runs.reference import is_reference, place_of
from experiments.runs.schema_version import read_current


@dataclass(frozen=True)
class Source:
    """Results, read only. What was read once is kept, and no file is opened again.

    Attributes:
        grids: name -> record; None where it is damaged.
        tables: what an archive holds; None for a folder.
        made: where files made of the results go; None: into the folder, or beside the archive.
    """

    path: Path
    grids: dict[str, dict[str, Any] | None]
    tables: RunTables | None = None
    made: Path | None = None
    _records: dict[str, Record] = field(default_factory=dict, repr=False)
    _metrics: dict[str, list[dict[str, Any]]] = field(default_factory=dict, repr=False)
    _torn: dict[str, str] = field(default_factory=dict, repr=False)

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
            points += [Point(run_id) for run_id in self._run_ids() if run_id not in placed]
        return points

    def _run_ids(self) -> list[str]:
        if self.tables is not None:
            return sorted(self.tables.run_ids)
        return [folder.run_id for folder in folders_with_results(self.path)]

    def records(self, run_ids: Iterable[str]) -> dict[str, Record]:
        """run id -> what is known of the run, in the order given."""
        names = list(dict.fromkeys(run_ids))
        if unread := [name for name in names if name not in self._records]:
            self._records.update(self._read_records(unread))
        return {name: self._records[name] for name in names}

    def _read_records(self, names: list[str]) -> dict[str, Record]:
        if self.tables is None:
            return {name: Record.read(RunFolder(self.path / name)) for name in names}
        try:
            found = self.tables.records(names)
        except ValueError as error:
            raise self._damaged(error) from error
        return {name: found.get(name, Record(name)) for name in names}

    def metrics(self, run_ids: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        """run id -> lines of its metrics.jsonl; none where they are not to be trusted."""
        names = list(dict.fromkeys(run_ids))
        if unread := [name for name in names if name not in self._metrics]:
            self._read_metrics(unread)
        return {name: self._metrics[name] for name in names}

    def torn(self, run_ids: Iterable[str]) -> dict[str, str]:
        """run id -> why its lines are left out, of those that `metrics` was asked for."""
        return {name: self._torn[name] for name in dict.fromkeys(run_ids) if name in self._torn}

    def _read_metrics(self, names: list[str]) -> None:
        found: dict[str, list[tuple[dict[str, Any], str]]] = {}
        if self.tables is not None:
            try:
                found = self.tables.metrics(names)
            except ValueError as error:
                raise self._damaged(error) from error
        for name, record in self.records(names).items():
            lines, whole = found.get(name, []), True
            if self.tables is None:
                lines, whole = RunFolder(self.path / name).read_metrics()
            problem = str(record.status.get("curves", "")) or lines_problem(
                record.result, [text for _, text in lines], whole=whole
            )
            if record.state == "damaged":
                lines = []
            elif problem:
                self._torn[name], lines = problem, []
            self._metrics[name] = [line for line, _ in lines]

    def _damaged(self, error: ValueError) -> LoopscopeError:
        again = "`loopscope archive OUT` makes it again"
        return LoopscopeError(f"{self.path} is damaged ({error}); {again}")

    def config(self, run_id: str) -> RunConfig:
        """The frozen config of a run.

        Raises:
            LoopscopeError: there is none, or it is not of this version of loopscope.
        """
        config = self.records([run_id])[run_id].config
        return as_config(config, self.path / run_id)

    def environments(self, run_ids: Iterable[str]) -> list[dict[str, Any]]:
        """What the runs were computed with, as far as it is known; archives do not hold it."""
        if self.tables is not None:
            return []
        found = (RunFolder(self.path / name).environment() for name in dict.fromkeys(run_ids))
        return [environment for environment in found if environment is not None]

    def read_from(self, run_ids: Iterable[str]) -> str:
        """A sentence for people: where these runs are read from.

        >>> Source(Path("runs"), {}).read_from(["a", "b"])
        'runs: 2 runs read from their folders'
        """
        n = len(set(run_ids))
        place = "their folders" if self.tables is None else "the archive"
        return f"{self.path}: {n} run{'s' * (n != 1)} read from {place}"


def open_source(path: Path | str) -> Source:
    """The results in a folder or in an archive, or those that come along: `reference:NAME`.

    Raises:
        LoopscopeError: there is neither, or it is damaged or of a newer version.
    """
    made = Path() if is_reference(path) else None
    path = place_of(path)
    if is_archive(path):
        tables, grids = read_archive(path)
        return Source(path, found_again(grids, path), tables, made)
    if not path.is_dir():
        raise LoopscopeError(f"{path} is no folder; `loopscope run GRID --out {path}` makes one")
    read_current(path / OUTPUT_FILE)
    files = sorted(path.glob("grids/*.json"))
    grids = {f.stem: whole_grid(read_current(f, "grid.json")) for f in files}
    return Source(path, found_again(grids, path), made=made)
