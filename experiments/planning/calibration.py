"""The speed of training on this device: measured once, kept in the user's cache, read by `plan`.

`calibrate` times real training steps of a few small shapes and fits the linear model of
`experiments.config.costs` by non-negative least squares on relative errors, so that a step of 1 ms
counts as much as one of 100 ms. On a CPU time is that of the process: what one thread takes on
an idle machine. On a GPU it is wall time.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from experiments.config.costs import Work, cost_and_work
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.machine import device_name
from experiments.runs.json_files import read_json, write_json

if TYPE_CHECKING:
    from experiments.training.trainer import Trainer

CACHE_VERSION = 1
#: steps left out first, and the shortest and longest a shape is timed
WARM, FEWEST, SECONDS = 2, 5, 0.4

_HOPS = {"kind": "multihop"}
_PEOPLE = {"kind": "bios", "pools": "small"}
#: task, batch, width, heads, core, loops
SHAPES: tuple[tuple[dict[str, Any], int, int, int, int, int], ...] = (
    (_HOPS, 16, 16, 1, 1, 1),
    (_HOPS, 16, 32, 1, 2, 4),
    (_HOPS, 512, 64, 2, 1, 1),
    (_HOPS, 512, 64, 2, 1, 4),
    (_HOPS, 256, 128, 4, 2, 2),
    (_PEOPLE, 64, 32, 1, 1, 1),
    (_PEOPLE, 64, 64, 2, 1, 4),
    (_PEOPLE, 32, 128, 4, 2, 1),
    (_PEOPLE, 16, 256, 4, 2, 1),
    ({"kind": "copy", "length": 64}, 16, 64, 2, 1, 2),
)
#: more, which a GPU does in milliseconds
LARGE = (
    (_PEOPLE, 512, 256, 4, 4, 2),
    (_PEOPLE, 512, 512, 8, 8, 1),
    (_HOPS, 8192, 256, 4, 2, 4),
)


@dataclass(frozen=True)
class TimeModel:
    """Seconds as a linear function of `Work`.

    Attributes:
        coefficients: seconds per step, block call, FLOP, value and update.
        worst: largest factor between fit and measurement among the shapes.
        overhead: seconds that a command takes to start a worker and, once its runs are done, to
            load what draws tables and figures.
        origin: a text that says which measurement it comes from.
    """

    coefficients: tuple[float, ...]
    worst: float = 1.0
    origin: str = ""
    overhead: float = 0.0

    def seconds(self, work: Work) -> float:
        return sum(c * x for c, x in zip(self.coefficients, work.counts, strict=True))


def fit(samples: list[tuple[Work, float]]) -> TimeModel:
    """The model that minimises Σ(estimated / measured - 1)² over (work, seconds) pairs.

    No coefficient is negative.
    """
    import numpy as np
    from scipy.optimize import nnls

    rows = np.array([work.counts for work, _ in samples], float)
    rows /= np.array([seconds for _, seconds in samples])[:, None]
    scale = np.maximum(rows.max(axis=0), 1e-300)
    found, _ = nnls(rows / scale, np.ones(len(rows)))
    ratios = rows @ (found / scale)
    worst = float(np.maximum(ratios, 1 / np.maximum(ratios, 1e-9)).max())
    return TimeModel(tuple(map(float, found / scale)), worst)


def calibrate(device: str = "cpu", precision: str = "fp32") -> Iterator[str]:
    """Measures every shape, yields a line about each, and keeps the result for this device.

    Raises:
        LoopscopeError: there is no such device, or the cache is of a newer version.
        OSError: the cache cannot be written.
    """
    from experiments.training.train import configure

    configure(device)
    _known(cache_path(device))
    samples = []
    for shape in SHAPES + (LARGE if device.startswith("cuda") else ()):
        config = _config(shape, precision)
        work, seconds = cost_and_work(config)[1], _step_seconds(config, device)
        samples.append((work, seconds))
        task, batch, width, _, core, loops = shape
        yield f"{task['kind']} batch {batch}, {core}⊗{loops}, width {width}: {1e3 * seconds:.2f} ms"
    overhead = overhead_seconds(device)
    yield f"starting a worker, and drawing at the end: {overhead:.1f} s"
    model = fit(samples)
    path = cache_path(device)
    known = _known(path)
    kept = known.get("precision", {}) if known.get("schema_version") == CACHE_VERSION else {}
    measured = {
        "coefficients": model.coefficients,
        "worst": model.worst,
        "overhead": overhead,
        "torch": version("torch"),
        "samples": [[*work.counts, seconds] for work, seconds in samples],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"schema_version": CACHE_VERSION, "device": device_name(device)}
    write_json(path, content | {"precision": kept | {precision: measured}})
    yield f"fits the shapes within a factor {model.worst:.2f}; kept in {path}"


def _known(path: Path) -> dict[str, Any]:
    """The content of the cache.

    Raises:
        LoopscopeError: a newer version wrote it, so that it must not be replaced.
    """
    known = read_json(path) or {}
    found = known.get("schema_version")
    if isinstance(found, int) and found > CACHE_VERSION:
        raise LoopscopeError(
            f"{path} says schema version {found}, this loopscope writes {CACHE_VERSION}: a newer "
            "one calibrated this device; remove the file, or set XDG_CACHE_HOME to another folder"
        )
    return known


def _config(shape: tuple[dict[str, Any], int, int, int, int, int], precision: str) -> RunConfig:
    """A run of one optimiser step."""
    task, batch, width, heads, core, loops = shape
    model = {"kind": "looped", "width": width, "heads": heads, "core": core, "loops": loops}
    training = {"batch": batch, "precision": precision, "phases": [{"until_step": 1}]}
    return RunConfig.model_validate({"task": task, "model": model, "training": training})


def _step_seconds(config: RunConfig, device: str) -> float:
    """The median time of a step."""
    from experiments.training.trainer import Trainer

    trainer = Trainer(config, device)
    for _ in range(WARM):
        _timed_step(trainer)
    found, until = [], time.perf_counter() + SECONDS
    while len(found) < FEWEST or time.perf_counter() < until:
        found.append(_timed_step(trainer))
    return median(found)


def _timed_step(trainer: "Trainer") -> float:
    clock = time.process_time if trainer.device.type == "cpu" else time.perf_counter
    start = clock()
    loss = trainer.step(trainer.spans[0])
    loss.total.item()  # waits for a GPU
    elapsed = clock() - start
    trainer.counters.step = 0
    trainer.window.clear()
    return elapsed


def overhead_seconds(device: str) -> float:
    """Seconds of starting a worker on this device and of importing what draws tables and figures.

    It is processor time on a CPU, as for the steps, and wall time on a GPU.
    """
    touch = f"import experiments.training.train, torch; torch.zeros(1, device={device!r})"
    found = 0.0
    for code in (touch, "import pandas, seaborn, typer, experiments.grid"):
        wall, before = time.perf_counter(), os.times()
        subprocess.run([sys.executable, "-c", code], check=True)
        after = os.times()
        cpu = after.children_user + after.children_system
        cpu -= before.children_user + before.children_system
        found += cpu if device == "cpu" else time.perf_counter() - wall
    return found


def load_calibration(device: str, precision: str = "fp32") -> TimeModel | None:
    """The calibration of this device; None if there is none, or it cannot be read."""
    try:
        known = read_json(cache_path(device)) or {}
        if known["schema_version"] != CACHE_VERSION or known["device"] != device_name(device):
            return None
        found = known["precision"][precision]
        coefficients = tuple(map(float, found["coefficients"]))
        worst = float(found["worst"])
        if len(coefficients) != len(Work().counts) or not all(map(_plausible, coefficients)):
            return None
        if not any(coefficients) or not _plausible(worst):
            return None
        origin = f"calibrated {device_name(device)}, {precision}, torch {found['torch']}"
        overhead = float(found.get("overhead", 0.0))  # older calibrations did not measure it
        return TimeModel(coefficients, worst, origin, overhead if _plausible(overhead) else 0.0)
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _plausible(number: float) -> bool:
    """Whether a number can be seconds of a step, call or FLOP, or a factor."""
    return 0 <= number < 1e9


def cache_path(device: str) -> Path:
    """The file about a device, in $XDG_CACHE_HOME/loopscope or ~/.cache/loopscope.

    Raises:
        LoopscopeError: there is no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(base) if base else Path.home() / ".cache"
    except RuntimeError as error:
        raise LoopscopeError("set XDG_CACHE_HOME: there is no home folder for a cache") from error
    name = re.sub(r"[^A-Za-z0-9]+", "-", device_name(device)).strip("-").lower()
    return folder / "loopscope" / f"{name}.json"
