"""How the arms of a folder learn while they are trained: a curve each, also as a line of text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.runs.folder import RunFolder
from experiments.runs.json_files import read_json
from experiments.runs.output import run_folders
from models.config import LoopedConfig

#: heights of a sparkline, the lowest first
BARS = "▁▂▃▄▅▆▇█"
#: letters of a sparkline, and of the name before it
WIDTH, NAME = 24, 30

#: [(step, value)], in the order of steps
Curve = list[tuple[int, float]]


def sparkline(curve: Curve, last_step: int, low: float, high: float, width: int = WIDTH) -> str:
    """A curve from step 0 to the last; places that no step was measured in stay as before.

    >>> sparkline([(1, 0.0), (50, 0.5), (100, 1.0)], 200, 0, 1, width=4)
    '▃█  '
    """
    text = ""
    for i in range(width):
        first, last = i * last_step / width, (i + 1) * last_step / width
        here = [value for step, value in curve if first < step <= last]
        before = [value for step, value in curve if step <= last]
        if not here and not (before and curve[-1][0] > last):
            text += " "
            continue
        value = sum(here) / len(here) if here else before[-1]
        share = (value - low) / (high - low) if high > low else 0.0
        text += BARS[min(max(int(share * len(BARS)), 0), len(BARS) - 1)]
    return text


@dataclass(frozen=True)
class ArmCurve:
    """The mean over the runs of an arm, at the steps that all of them have reached or passed.

    Attributes:
        name: part of the grid and arm.
        metric: `accuracy` on held-out questions, the mean of all difficulties; `loss` without it.
    """

    name: str
    metric: str
    curve: Curve
    runs: int
    last_step: int

    def columns(self) -> tuple[str, ...]:
        """Name, metric, sparkline, last value and number of runs."""
        low, high = 0.0, 1.0
        if self.metric == "loss":
            high = max(value for _, value in self.curve)
        name = self.name if len(self.name) <= NAME else f"{self.name[: NAME - 1]}…"
        line = sparkline(self.curve, self.last_step, low, high)
        runs = f"{self.runs} run{'s' * (self.runs != 1)}"
        return name, self.metric, line, f"{self.curve[-1][1]:.3f}", runs


@dataclass
class ArmCurves:
    """The curves of a folder. A file that has not changed is not read again."""

    out: Path
    _read: dict[str, tuple[tuple[int, int], dict[str, Curve], int]] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    def curves(self) -> list[ArmCurve]:
        """A curve for each arm that has one, in the order of the grids."""
        found: dict[str, list[tuple[dict[str, Curve], int]]] = {}
        for folder in run_folders(self.out):
            curves, last = self._curves_of(folder)
            if curves:
                found.setdefault(self._name(folder), []).append((curves, last))
        order = list(dict.fromkeys(self._names.values()))
        return [_mean(name, found[name]) for name in sorted(found, key=order.index)]

    def _curves_of(self, folder: RunFolder) -> tuple[dict[str, Curve], int]:
        try:
            state = folder.metrics_path.stat()
        except OSError:
            return {}, 0
        stamp = state.st_mtime_ns, state.st_size
        if folder.run_id not in self._read or self._read[folder.run_id][0] != stamp:
            lines = [line for line, _ in folder.read_metrics()[0]]
            status = folder.status()
            last = max([line["step"] for line in lines] + [status.last_step if status else 0])
            self._read[folder.run_id] = stamp, _curves(lines), last
        return self._read[folder.run_id][1:]

    def _name(self, folder: RunFolder) -> str:
        if folder.run_id not in self._names:
            for path in sorted(self.out.glob("grids/*.json")):
                for point in (read_json(path) or {}).get("points", ()):
                    if isinstance(point, dict) and (self.out / str(point.get("run_id"))).is_dir():
                        name = _name_of(RunFolder(self.out / str(point["run_id"])), point)
                        self._names.setdefault(str(point["run_id"]), name)
            self._names.setdefault(folder.run_id, _name_of(folder, {}))
        return self._names[folder.run_id]


def _name_of(folder: RunFolder, point: dict[str, Any]) -> str:
    config = read_json(folder.path / "config.json") or {}
    labels, shape = point.get("labels") or {}, config.get("model")
    model = LoopedConfig.model_construct(**(shape if isinstance(shape, dict) else {}))
    known = {k: v for k, v in labels.items() if k != "seed" and not k.startswith("model.loops")}
    arm = known.pop("arm", "") or model.label
    return ", ".join(map(str, filter(None, (point.get("part"), arm, *known.values()))))


def _curves(lines: Sequence[dict[str, Any]]) -> dict[str, Curve]:
    """metric -> curve of one run: its loss, and its accuracy after the last loop."""
    loss = [(line["step"], line["loss"]) for line in lines if _number(line.get("loss"))]
    accuracy: dict[int, float] = {}
    for line in lines:
        rows = [
            row
            for row in line.get("measurements") or ()
            if row.get("metric") == "accuracy" and row.get("split") == "test"
        ]
        last = max((row.get("loop") or 0 for row in rows), default=0)
        values = [row["value"] for row in rows if (row.get("loop") or 0) == last]
        if values and all(map(_number, values)):
            accuracy[line["step"]] = sum(values) / len(values)
    found = {"accuracy": sorted(accuracy.items()), "loss": loss}
    return {metric: curve for metric, curve in found.items() if curve}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and value == value and abs(value) != float("inf")


def _mean(name: str, runs: list[tuple[dict[str, Curve], int]]) -> ArmCurve:
    metric = "accuracy" if all("accuracy" in curves for curves, _ in runs) else "loss"
    chosen = [dict(curves[metric]) for curves, _ in runs if metric in curves]
    steps = sorted(set.intersection(*map(set, chosen))) if chosen else []
    if not steps:  # runs of one arm that log at other steps: the one that is furthest
        chosen = [max(chosen, key=max)]
        steps = sorted(chosen[0])
    curve = [(step, sum(one[step] for one in chosen) / len(chosen)) for step in steps]
    return ArmCurve(name, metric, curve, len(chosen), max(last for _, last in runs))
