"""Time, memory and disk that a run is expected to need on this device.

Time comes from the device's calibration, corrected by the finished runs of the same task on
this device (median of measured / estimated). Without a calibration it is FLOPs over the median
rate of the finished runs; without either there is no estimate.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from experiments.config.costs import Cost, Work
from experiments.config.run import RunConfig
from experiments.machine import device_name, processor_name
from experiments.planning.calibration import TimeModel, load_calibration
from experiments.runs.folder import RunFolder

#: bytes of a parameter in a checkpoint: its weight and two moments
CHECKPOINT_BYTES = 12
#: bytes of config, environment, status, log and result, of a logged line, of an evaluation
FILES, LINE, EVALUATION = 24_000, 150, 6_000


@dataclass(frozen=True)
class Finished:
    """A run that was trained on this device."""

    task: str
    work: Work
    seconds: float


@dataclass(frozen=True)
class Estimator:
    """Estimates the seconds of a run from its work.

    Attributes:
        models: by precision, as far as the device is calibrated.
        finished: runs that were trained on this device.
    """

    device: str
    models: dict[str, TimeModel] = field(default_factory=dict)
    finished: tuple[Finished, ...] = ()

    @classmethod
    def of(cls, device: str, finished: Iterable[Finished] = ()) -> "Estimator":
        found = {p: load_calibration(device, p) for p in ("fp32", "bf16")}
        return cls(device, {p: m for p, m in found.items() if m is not None}, tuple(finished))

    def calibrated(self, config: RunConfig, work: Work) -> float | None:
        """The estimate from the calibration alone, as if nothing had been run yet."""
        model = self.models.get(config.training.precision)
        return None if model is None else model.seconds(work)

    def seconds(self, config: RunConfig, work: Work) -> float | None:
        """The best estimate, or None if nothing is known of this device."""
        same = [f for f in self.finished if f.task == config.task.kind] or list(self.finished)
        model = self.models.get(config.training.precision)
        if model is None:
            rates = [f.seconds / f.work.flops for f in same if f.work.flops]
            return median(rates) * work.flops if rates else None
        factors = [f.seconds / model.seconds(f.work) for f in same if model.seconds(f.work)]
        return model.seconds(work) * (median(factors) if factors else 1.0)

    def overhead(self, config: RunConfig) -> float:
        """Seconds that starting and drawing take, once for a command; 0 where it is not known."""
        model = self.models.get(config.training.precision)
        return 0.0 if model is None else model.overhead

    @property
    def origin(self) -> str:
        """A text that says where the times come from."""
        parts = [model.origin for model in self.models.values()]
        if self.finished:
            parts.append(f"{len(self.finished)} runs finished on {device_name(self.device)}")
        return "; ".join(parts)


def measured_seconds(folder: RunFolder, device: str) -> float | None:
    """Seconds that a finished run took; None where it ran elsewhere or the time is not known.

    It is processor time on a CPU, in which other work on the machine does not count, and wall time
    on a GPU.
    """
    result, machine = folder.result() or {}, (folder.environment() or {}).get("machine", {})
    gpu = device.startswith("cuda")
    here = (
        machine.get("accelerator") == device_name(device)
        if gpu
        else machine.get("processor") == processor_name() and machine.get("device", "cpu") == "cpu"
    )
    found = result.get("timings", {}).get("wall_seconds" if gpu else "cpu_seconds")
    return float(found) if here and isinstance(found, int | float) and found > 0 else None


def disk_bytes(config: RunConfig, cost: Cost) -> int:
    """Bytes of a finished run's folder; while it runs there may be two checkpoints more."""
    observe = config.observe
    lines = cost.steps // observe.log_every * LINE
    evaluations = cost.steps // observe.evaluate_every * EVALUATION if observe.evaluate_every else 0
    return CHECKPOINT_BYTES * cost.parameters["total"] + FILES + lines + evaluations
