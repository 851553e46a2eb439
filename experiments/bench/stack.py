"""Speed of runs trained in one pass beside the same runs one at a time, in turns in one process.

Every round takes one step of all runs in each way, so that a change of the machine's load falls on
all alike; ratios are medians over rounds. Time is that of `bench_train.Clock`, tokens are
counted without padding.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

from experiments.bench.train import FEWEST, WARM, Clock
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.training.joint_step import Stack
from experiments.training.trainer import Trainer

#: documents of a run in a step, at the standard widths
BATCHES = (32, 128, 1024)
#: runs in a pass, unless told otherwise
RUNS = {"cpu": (4, 8), "cuda": (4, 16, 64)}
#: ways to train; the last two only on a GPU
WAYS = ("alone", "stacked", "alone_compiled", "stacked_compiled")
HEAD = (
    *("shape", "precision", "runs", "rounds"),
    *("alone, ktokens/s", "stacked, ktokens/s", "x alone"),
    *("alone compiled, x alone", "stacked compiled, x alone"),
)


@dataclass(frozen=True)
class Speed:
    """Of one shape and number of runs.

    Attributes:
        tokens_per_second: of all runs together, the median over rounds, by way to train.
        ratios: median over rounds of a way's tokens per second through those of `alone`.
    """

    shape: str
    precision: str
    runs: int
    rounds: int
    tokens_per_second: dict[str, float]
    ratios: dict[str, float]

    def row(self) -> tuple[str, ...]:
        """As `HEAD` names it."""
        rates = (f"{self.tokens_per_second[way] / 1e3:.1f}" for way in WAYS[:2])
        ratios = (f"{self.ratios[way]:.2f}" if way in self.ratios else "" for way in WAYS[1:])
        return (self.shape, self.precision, str(self.runs), str(self.rounds), *rates, *ratios)


def standard_shapes(width: int, precision: str) -> dict[str, RunConfig]:
    """1⊗4 on three-hop facts as in the shipped grid `headline`, with each of `BATCHES`."""
    return {
        f"multihop 1⊗4, width {width}, batch {batch}": RunConfig.model_validate(
            {
                "task": {"kind": "multihop", "entities": 32, "relations": 16, "hops": 3},
                "model": {"width": width, "heads": max(1, width // 32), "loops": 4, "tied": True},
                "training": {
                    "batch": batch, "precision": precision, "phases": [{"until_step": 10**6}]
                },
            }
        )
        for batch in BATCHES
    }  # fmt: skip


def measure(shape: str, config: RunConfig, runs: int, *, device: str, seconds: float) -> Speed:
    """So many runs of one shape that can be stacked, for so many seconds of wall time at least.

    Raises:
        LoopscopeError: no such device, or they do not fit into its memory together.
    """
    from experiments.training.train import configure

    configure(device)
    try:
        rates = _rates(_ways(config, runs, device), Clock(torch.device(device)), seconds)
    except torch.OutOfMemoryError as error:
        raise LoopscopeError(
            f"{shape}: {runs} runs need more memory than {device} has; ask for fewer with --stack"
        ) from error
    alone = rates["alone"]
    return Speed(
        shape=shape,
        precision=config.training.precision,
        runs=runs,
        rounds=len(alone),
        tokens_per_second={way: median(found) for way, found in rates.items()},
        ratios={
            way: median(a / b for a, b in zip(found, alone, strict=True))
            for way, found in rates.items()
            if way != "alone"
        },
    )


def _rates(
    ways: dict[str, Callable[[], int]], clock: Clock, seconds: float
) -> dict[str, list[float]]:
    """Tokens per second of every round, by way; the first rounds, which compile, do not count."""
    rates: dict[str, list[float]] = {way: [] for way in ways}
    until, rounds = 0.0, -WARM
    while rounds < FEWEST or time.perf_counter() < until:
        for way, step in ways.items():
            start = clock()
            tokens = step()
            rates[way].append(tokens / (clock() - start))
        rounds += 1
        if rounds == 0:
            until = time.perf_counter() + seconds
    return {way: found[WARM:] for way, found in rates.items()}


def _ways(config: RunConfig, runs: int, device: str) -> dict[str, Callable[[], int]]:
    """What takes a step of every run, and says how many tokens they read."""
    ways = {}
    for way in WAYS if torch.device(device).type == "cuda" else WAYS[:2]:
        wanted = endless(config, "gpu" if way.endswith("compiled") else "never")
        if way.startswith("alone"):
            ways[way] = _alone(Trainer(wanted, device), runs)
        else:
            seeds = (wanted.model_copy(update={"seed": wanted.seed + r}) for r in range(runs))
            ways[way] = _stacked(Stack([Trainer(run, device) for run in seeds]))
    return ways


def endless(config: RunConfig, compile_blocks: str) -> RunConfig:
    """The same run in its first phase for good."""
    phase = config.training.phases[0]
    phase = phase.model_copy(update={"until_exposure": None, "until_step": 10**6})
    training = config.training.model_copy(update={"phases": (phase,)})
    observe = config.observe.model_copy(update={"compile_blocks": compile_blocks})
    return config.model_copy(update={"training": training, "observe": observe})


def _alone(trainer: Trainer, runs: int) -> Callable[[], int]:
    """One run in place of each: when runs follow each other, only one is in the caches."""

    def step() -> int:
        before = trainer.counters.tokens
        for _ in range(runs):
            trainer.step(trainer.spans[0])
        trainer.window.clear()
        return trainer.counters.tokens - before

    return step


def _stacked(stack: Stack) -> Callable[[], int]:
    def step() -> int:
        before = sum(trainer.counters.tokens for trainer in stack.trainers)
        stack.step(0)
        for trainer in stack.trainers:
            trainer.window.clear()
        return sum(trainer.counters.tokens for trainer in stack.trainers) - before

    return step


def as_json(found: Sequence[Speed], alone: dict[str, str], device: str) -> dict[str, Any]:
    """For a file: the machine, the versions, every number, and why the other shapes have none."""
    from experiments.machine import device_name
    from experiments.runs.schema_version import stamped

    return stamped(
        {
            "device": device_name(device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "shapes": [asdict(speed) for speed in found],
            "not_stacked": alone,
        }
    )
