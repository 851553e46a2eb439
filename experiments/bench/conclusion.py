"""What a conclusion costs with loopscope, with a plain loop, and with transformers' Trainer.

All of them train the same models from the same weights on the same documents with the same
schedule, and put the same questions to them at the same steps; processor time is that of
everything but imports, with one thread. The plain loop has torch's layers and torch's AdamW and
computes logits at every token; the Trainer has that model. They train one run after another,
loopscope the seeds of an arm together. Arms take turns.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from experiments.bench.models import plain
from experiments.bench.plain_runs import TRAINERS, Answers, PlainRun, answers_of
from experiments.bench.together import train_together
from experiments.config.phases import Phase
from experiments.config.run import Observe, RunConfig
from experiments.errors import LoopscopeError
from experiments.runs.folder import RunFolder
from experiments.runs.output import prepare_output
from models.config import LoopedConfig
from probes.accuracy import Accuracy

if TYPE_CHECKING:
    from experiments.grid.grid import Grid

OURS = "loopscope"
HEAD = ("arm", "questions", "seeds")


@dataclass(frozen=True)
class ArmCost:
    """What an arm took, and what came out of it, by way to train it.

    Attributes:
        seconds: of processor time, of all its seeds together.
        answers: of every seed.
    """

    arm: str
    seconds: dict[str, float]
    answers: dict[str, list[Answers]]

    def rows(self) -> Iterator[tuple[str, ...]]:
        """The numbers for a table headed by `head_of`."""
        for difficulty in self.answers[OURS][0]:
            found = {w: [a[difficulty] for a in runs] for w, runs in self.answers.items()}
            texts = (f"{fmean(x):.3f}{_spread(x)}" for x in found.values())
            yield self.arm, str(difficulty or "all"), str(len(found[OURS])), *texts
        ours = self.seconds[OURS]
        times = (f"{s:.0f} s, x {s / ours:.2f}" for s in self.seconds.values())
        yield self.arm, "processor time", str(len(self.answers[OURS])), *times


def _spread(values: list[float]) -> str:
    return f" ± {stdev(values):.3f}" if len(values) > 1 else ""


def head_of(ways: Sequence[str]) -> tuple[str, ...]:
    """The heading of the rows of `ArmCost`."""
    return (*HEAD, OURS, *ways)


def arms_of(grid: "Grid", part: str, seeds: int, every: int) -> dict[str, list[RunConfig]]:
    """Arm -> its runs with seeds 0 to `seeds` - 1, of a part of a grid or of all of it.

    Raises:
        LoopscopeError: there is no such part, or the plain loop lacks what a run asks for.
    """
    found: dict[str, list[RunConfig]] = {}
    for point in grid.points:
        if part in ("", point.part):
            labels = (f"{n.rpartition('.')[2]} {v}" for n, v in point.labels.items() if n != "seed")
            name = ", ".join([point.config.model.label, *labels])
            found.setdefault(name, [prepared(point.config, s, every) for s in range(seeds)])
    if not found:
        parts = ", ".join(dict.fromkeys(point.part for point in grid.points))
        raise LoopscopeError(f"grid {grid.name} has no part {part!r}; it has {parts or 'none'}")
    return found


def prepared(config: RunConfig, seed: int, every: int) -> RunConfig:
    """A run of an arm, looked at every so many steps.

    Raises:
        LoopscopeError: the plain loop does not do what it asks for.
    """
    why = misfit(config)
    if not why and not Accuracy.applies(config.task.bind(config.seed)):
        why = "is asked questions, which its task lacks"
    if why:
        raise LoopscopeError(
            f"{config.run_id}: the plain loop of this comparison {why}; choose other runs with "
            "--part and --set"
        )
    look = Accuracy(items=512, splits=("test",))
    observe = Observe(probes=(look,), evaluate_every=every, evaluate_with=(look,))
    return config.model_copy(update={"seed": seed, "observe": observe})


def misfit(config: RunConfig) -> str:
    """What the plain loop lacks of a run; empty if nothing."""
    training = config.training
    if not isinstance(config.model, LoopedConfig) or not plain(config.model):
        return "has blocks of the default kind, one after another, and at most injection: add"
    if config.objective.kind != "last_loop" or config.start is not None:
        return "is trained on the last loop alone, from its first step"
    if training.optimiser != "adamw" or training.precision != "fp32":
        return "is trained by AdamW in fp32"
    if training.ema is not None or training.parts > 1:
        return "takes every batch at once and keeps no average"
    ends, rates = (
        {"until_step", "until_exposure"},
        {"warmup", "decay", "decay_share", "final", "lr"},
    )
    usual = {*ends, *rates, "weights"}
    if any(phase.model_dump(exclude_defaults=True).keys() - usual for phase in training.phases):
        return f"knows phases with {', '.join(sorted(usual))}"
    return ""


def compare(arms: dict[str, list[RunConfig]], ways: Sequence[str]) -> Iterator[ArmCost]:
    """Trains every arm in every way, the ways in turns, and yields what each arm took.

    Each way first takes two steps that do not count, in which libraries import what they need.
    """
    torch.set_num_threads(1)
    for way in (OURS, *ways):
        WAYS[way]([shortened(config) for config in next(iter(arms.values()))])
    for arm, configs in arms.items():
        seconds, answers = dict[str, float](), dict[str, list[Answers]]()
        for way in (OURS, *ways):
            start = time.process_time()
            answers[way] = WAYS[way](configs)
            seconds[way] = time.process_time() - start
        yield ArmCost(arm, seconds, answers)


def shortened(config: RunConfig) -> RunConfig:
    """The same with two steps, in which libraries import what they need."""
    training = config.training.model_copy(update={"phases": (Phase(until_step=2),)})
    return config.model_copy(update={"training": training})


def _ours(configs: list[RunConfig]) -> list[Answers]:
    with TemporaryDirectory() as path:
        out = Path(path)
        prepare_output(out)
        by_path = {out / config.run_id: config for config in configs}
        train_together(by_path, "cpu", threads=1)
        results = [RunFolder(path).result() for path in by_path]
    return [answers_of(result["measurements"]) for result in results if result is not None]


def _beside(way: str, configs: list[RunConfig]) -> list[Answers]:
    return [answers_of(TRAINERS[way](PlainRun(config))) for config in configs]


WAYS: dict[str, Callable[[list[RunConfig]], list[Answers]]] = {
    OURS: _ours,
    **{way: partial(_beside, way) for way in TRAINERS},
}


def usable_ways(asked: Sequence[str] | None) -> tuple[str, ...]:
    """The ways asked for, or all that can be had beside ours.

    Raises:
        LoopscopeError: no such way, or the Trainer without transformers and accelerate.
    """
    others = [way for way in WAYS if way != OURS]
    missing = [name for name in ("transformers", "accelerate") if find_spec(name) is None]
    for way in asked or ():
        if way not in others:
            raise LoopscopeError(f"there is no way {way!r}; there are {', '.join(others)}")
        if way == "trainer" and missing:
            raise LoopscopeError(
                f"the way trainer needs {' and '.join(missing)}: pip install {' '.join(missing)}"
            )
    return tuple(asked or (way for way in others if way != "trainer" or not missing))
