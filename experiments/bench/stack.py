"""Speed of runs trained in one pass beside the same runs one at a time, in turns in one process.

Every round takes one step of all runs in each way; ratios are medians over rounds. Tokens are
counted without padding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

from experiments.bench.timing import Clock, in_turns
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.training.joint_step import JointRuns
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
class JointSpeed:
    """The speed of so many runs of one shape.

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
        """The numbers for a table headed by `HEAD`."""
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


def measure(shape: str, config: RunConfig, runs: int, *, device: str, seconds: float) -> JointSpeed:
    """The speed of runs that can be trained jointly, over so many seconds of wall time at least.

    Raises:
        LoopscopeError: no such device, or they do not fit into its memory together.
    """
    from experiments.training.train import configure

    configure(device)
    try:
        clock = Clock(torch.device(device))
        ways = _ways(config, runs, device)
        rates = in_turns({w: partial(_rate, step, clock) for w, step in ways.items()}, seconds)
    except torch.OutOfMemoryError as error:
        raise LoopscopeError(
            f"{shape}: {runs} runs need more memory than {device} has; ask for fewer with --stack"
        ) from error
    alone = rates["alone"]
    return JointSpeed(
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


def _rate(step: Callable[[], int], clock: Clock) -> float:
    """Tokens per second of one step, which returns its number of tokens."""
    start = clock()
    tokens = step()
    return tokens / (clock() - start)


def _ways(config: RunConfig, runs: int, device: str) -> dict[str, Callable[[], int]]:
    """Functions that take a step of every run and return the number of tokens read."""
    ways = {}
    for way in WAYS if torch.device(device).type == "cuda" else WAYS[:2]:
        wanted = endless(config, "gpu" if way.endswith("compiled") else "never")
        if way.startswith("alone"):
            ways[way] = _alone(Trainer(wanted, device), runs)
        else:
            seeds = (wanted.model_copy(update={"seed": wanted.seed + r}) for r in range(runs))
            ways[way] = _stacked(JointRuns([Trainer(run, device) for run in seeds]))
    return ways


def endless(config: RunConfig, compile_blocks: str) -> RunConfig:
    """The same run with its first phase continued without end."""
    phase = config.training.phases[0]
    phase = phase.model_copy(update={"until_exposure": None, "until_step": 10**6})
    training = config.training.model_copy(update={"phases": (phase,)})
    observe = config.observe.model_copy(update={"compile_blocks": compile_blocks})
    return config.model_copy(update={"training": training, "observe": observe})


def _alone(trainer: Trainer, runs: int) -> Callable[[], int]:
    """Steps of one run in place of all: of runs in sequence, only one is in the caches."""

    def step() -> int:
        before = trainer.counters.tokens
        for _ in range(runs):
            trainer.step(trainer.spans[0])
        trainer.window.clear()
        return trainer.counters.tokens - before

    return step


def _stacked(stack: JointRuns) -> Callable[[], int]:
    def step() -> int:
        before = sum(trainer.counters.tokens for trainer in stack.trainers)
        stack.step(0)
        for trainer in stack.trainers:
            trainer.window.clear()
        return sum(trainer.counters.tokens for trainer in stack.trainers) - before

    return step
