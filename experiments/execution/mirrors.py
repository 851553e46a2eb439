"""Copies of the metrics for TensorBoard and Weights & Biases; never the store of record.

The parent reads on in every run's metrics.jsonl and hands new lines over. What a run computes
cannot depend on it: workers do not know of mirrors, and one that fails is turned off. A run
writes the same lines again after a crash, so the number of lines copied is all that is kept.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from experiments.errors import LoopscopeError
from experiments.execution.backends.backend import require
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import write_json
from experiments.runs.schema_version import read_current, stamped
from generators.plugins import nearest

#: seconds between two readings of the metrics of running runs
EVERY = 2.0


class Mirror(Protocol):
    """Another tool's way to keep the metrics of several runs at once."""

    def write(self, folder: RunFolder, step: int, values: dict[str, float]) -> None: ...

    def finish(self, run_id: str) -> None:
        """No more lines of this run for now."""
        ...


class TensorBoard:
    """OUT/mirrors/tensorboard/<run id>/: `tensorboard --logdir OUT/mirrors/tensorboard`."""

    def __init__(self, home: Path, project: str) -> None:
        require("tensorboard", "--mirror tensorboard", "mirrors")
        self.home = home
        self.writers: dict[str, Any] = {}

    def write(self, folder: RunFolder, step: int, values: dict[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # pyrefly: ignore
        from tensorboard.compat.proto.summary_pb2 import Summary  # pyrefly: ignore
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        writer = self.writers.get(folder.run_id)
        if writer is None:
            writer = EventFileWriter(str(self.home / folder.run_id))
            self.writers[folder.run_id] = writer
        summary = Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in values.items()])
        writer.add_event(Event(step=step, wall_time=time.time(), summary=summary))

    def finish(self, run_id: str) -> None:
        if run_id in self.writers:
            self.writers.pop(run_id).close()


class WeightsAndBiases:
    """OUT/mirrors/wandb/: offline runs, which `wandb sync` would send."""

    def __init__(self, home: Path, project: str) -> None:
        require("wandb", "--mirror wandb", "mirrors")
        self.home, self.project = home, project
        self.runs: dict[str, Any] = {}

    def write(self, folder: RunFolder, step: int, values: dict[str, float]) -> None:
        if folder.run_id not in self.runs:
            import wandb  # pyrefly: ignore

            self.runs[folder.run_id] = wandb.init(
                project=self.project,
                id=folder.run_id,
                name=folder.run_id,
                dir=str(self.home),
                config=read_current(folder.path / "config.json"),
                mode="offline",
                reinit="create_new",
            )
        self.runs[folder.run_id].log(values, step=step)

    def finish(self, run_id: str) -> None:
        if run_id in self.runs:
            self.runs.pop(run_id).finish()


KINDS: dict[str, Callable[[Path, str], Mirror]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}


class Mirrors:
    """All mirrors of a grid.

    Args:
        out: folder of the runs.
        project: what the tools call the grid.

    Raises:
        LoopscopeError: there is no such mirror, or its library is not installed.
    """

    def __init__(self, names: Sequence[str], out: Path, project: str) -> None:
        for name in names:
            if name not in KINDS:
                hint = nearest(name, KINDS)
                raise LoopscopeError(
                    f"there is no mirror {name!r}{hint}; there are {', '.join(KINDS)}"
                )
        self.homes = {name: out / "mirrors" / name for name in dict.fromkeys(names)}
        self.mirrors = {name: KINDS[name](home, project) for name, home in self.homes.items()}
        self.out = out
        self.notify: Callable[[str], None] = lambda message: None
        self._open: set[str] = set()
        self._read_at = 0.0

    def refresh(self, running: Iterable[RunFolder]) -> None:
        """Copies what running runs have written since the last time."""
        if not self.mirrors or time.monotonic() - self._read_at < EVERY:
            return
        self._read_at = time.monotonic()
        for folder in running:
            self._copy(folder)

    def finished(self, run_id: str) -> None:
        """Copies the rest of a run that ended."""
        if self.mirrors:
            self._copy(RunFolder(self.out / run_id))
            self._finish(run_id)

    def close(self) -> None:
        for run_id in sorted(self._open):
            self.finished(run_id)

    def _finish(self, run_id: str) -> None:
        self._open.discard(run_id)
        for name, mirror in list(self.mirrors.items()):
            try:
                mirror.finish(run_id)
            except Exception as error:
                self._failed(name, error)

    def _copy(self, folder: RunFolder) -> None:
        lines = folder.metrics()
        for name, mirror in list(self.mirrors.items()):
            place = self.homes[name] / f"{folder.run_id}.json"
            try:
                copied = int((read_current(place, "mirror.json") or {}).get("lines", 0))
                if len(lines) <= copied:
                    continue
                self._open.add(folder.run_id)
                place.parent.mkdir(parents=True, exist_ok=True)
                for line in lines[copied:]:
                    mirror.write(folder, int(line["step"]), scalars(line))
                write_json(place, stamped({"lines": len(lines)}), durable=False)
            except Exception as error:  # whatever another tool does wrong
                self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> None:
        self.mirrors.pop(name)
        self.notify(
            f"mirror {name} failed and is off now ({type(error).__name__}: {error}); "
            "runs go on, metrics.jsonl has everything"
        )


def scalars(line: dict[str, Any]) -> dict[str, float]:
    """The numbers in one line of metrics.jsonl, measurements named by what they are of."""
    found = {k: float(v) for k, v in line.items() if k != "step" and _is_number(v)}
    for row in line.get("measurements", ()):
        if not _is_number(row.get("value")):
            continue
        names = [str(row[k]) for k in ("metric", "component", "split", "item") if row.get(k)]
        names += [f"{k} {row[k]}" for k in ("difficulty", "loop") if row.get(k) is not None]
        found["/".join(names)] = float(row["value"])
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
