"""Speed of a training step beside a plain loop and a Llama, in turns within one process.

Every round takes one step of each and one matrix product; ratios are medians over rounds. On a
CPU time is that of the process, with one thread; on a GPU it is wall time after synchronising.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from experiments.bench.models import PlainLoop, PlainTraining, comparable, llama
from experiments.bench.timing import Clock, in_turns
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.training.trainer import Trainer
from models.config import LoopedConfig

if TYPE_CHECKING:
    from generators.task import Batch

#: side of the matrices whose product is the machine's peak, per kind of device
SIDE = {"cpu": 1024, "cuda": 8192}
PARTS = ("data", "forward", "backward", "optimiser")
#: what our step is timed against; the last one only where ours is in half precision
OTHERS = ("plain", "llama", "llama_fp32")


@dataclass(frozen=True)
class TrainingSpeed:
    """The speed of a training step of one shape.

    Attributes:
        tokens: read by the model in a step, padding included.
        flops: analytic FLOPs of a step (models.counts), of the whole architecture.
        seconds: median of a step, by contender.
        ratios: median over rounds of a contender's time through ours.
        peak: FLOP/s of the best matrix product in the run's precision.
        parts: seconds of each part of our step.
        activations: bytes that our forward pass keeps for the backward pass; on a GPU the peak
            of all memory.
    """

    shape: str
    precision: str
    tokens: int
    flops: float
    seconds: dict[str, float]
    ratios: dict[str, float]
    peak: float
    parts: dict[str, float]
    activations: int
    rounds: int

    def row(self) -> tuple[str, ...]:
        """The numbers for a table headed by `HEAD`."""
        ours = self.seconds["loopscope"]
        others = [f"{self.ratios[name]:.2f}" if name in self.ratios else "" for name in OTHERS]
        rate = self.flops / ours
        total = sum(self.parts.values())
        split = " / ".join(f"{100 * self.parts[part] / total:.0f}" for part in PARTS)
        return (
            self.shape,
            self.precision,
            f"{self.tokens / ours / 1e3:.1f}",
            f"{rate / 1e9:.0f}",
            f"{100 * rate / self.peak:.0f}",
            f"{self.activations / 1e6:.0f}",
            split,
            *others,
        )


HEAD = (
    "shape",
    "precision",
    "ktokens/s",
    "GFLOP/s",
    "% of peak",
    "memory, MB",
    "% data / forward / backward / optimiser",
    "x plain",
    "x llama",
    "x llama in fp32",
)


def standard_shape(width: int, precision: str = "fp32") -> RunConfig:
    """2⊗4 on 64 documents of 64 tokens out of 500, all predicted."""
    heads = max(1, width // 32) if width < 256 else width // 64
    return RunConfig.model_validate(
        {
            "task": {
                "kind": "random_sequences", "sequences": 4096, "length": 64, "alphabet": 498
            },
            "model": {"width": width, "heads": heads, "core": 2, "loops": 4},
            "training": {"batch": 64, "precision": precision, "phases": [{"until_step": 10**6}]},
        }
    )  # fmt: skip


def standard_shapes(width: int, precision: str) -> dict[str, RunConfig]:
    """The standard shape of a width, by its name."""
    return {f"2⊗4, width {width}": standard_shape(width, precision)}


def shapes_of(
    names: list[str],
    precision: str,
    standard: Callable[[int, str], dict[str, RunConfig]] = standard_shapes,
) -> dict[str, RunConfig]:
    """Widths as the standard shapes, grids as each of their different shapes.

    Raises:
        LoopscopeError: neither a width nor a grid.
    """
    from experiments.grid.grid import load_grid

    found: dict[str, RunConfig] = {}
    for name in names:
        if name.isdigit() and int(name):
            found |= standard(int(name), precision)
            continue
        for point in load_grid(name, []).points:
            run = point.config
            training = run.training.model_copy(update={"precision": precision})
            text = f"{run.task.kind} {run.model.label}, width {run.model.width}"
            found.setdefault(
                f"{text}, batch {training.batch}", run.model_copy(update={"training": training})
            )
    if not found:
        raise LoopscopeError("no shapes to measure; name widths such as 64, or a grid")
    return found


def measure(name: str, config: RunConfig, *, device: str, seconds: float) -> TrainingSpeed:
    """The speed of one shape, measured for so many seconds of wall time at least."""
    from experiments.training.train import configure

    configure(device)
    trainer = Trainer(config, device)
    clock = Clock(trainer.device)
    contenders, parts = _contenders(trainer, clock)
    ways = contenders | {"product": _product(trainer.device, config.training.precision)}
    times = in_turns({w: partial(clock.seconds, step) for w, step in ways.items()}, seconds)
    products, ours = times.pop("product"), times["loopscope"]
    counters = trainer.counters
    return TrainingSpeed(
        shape=name,
        precision=config.training.precision,
        tokens=_read_tokens(trainer),
        flops=counters.train_flops / counters.step,
        seconds={way: median(found) for way, found in times.items()},
        ratios={
            way: median(a / b for a, b in zip(found, ours, strict=True))
            for way, found in times.items()
            if way != "loopscope"
        },
        peak=2 * SIDE[trainer.device.type] ** 3 / min(products),
        parts={part: median(found[-len(ours) :]) for part, found in parts.items()},
        activations=kept_memory(trainer),
        rounds=len(ours),
    )


def _contenders(
    trainer: Trainer, clock: Clock
) -> tuple[dict[str, Callable[[], Any]], dict[str, list[float]]]:
    """The steps to take in turns, and the times of the parts of our step, which our step fills."""
    span, parts = trainer.spans[0], {part: [] for part in PARTS}

    def ours() -> None:
        spent, last = dict.fromkeys(PARTS, 0.0), clock()

        def mark(part: str) -> None:
            nonlocal last
            now = clock()
            spent[part] += now - last
            last = now

        trainer.step(span, mark)
        for part, seconds in spent.items():
            parts[part].append(seconds)
        trainer.window.clear()

    steps: dict[str, Callable[[], Any]] = {"loopscope": ours}
    model = trainer.config.model
    if (
        isinstance(model, LoopedConfig)
        and comparable(model)
        and trainer.config.objective.kind == "last_loop"
    ):
        batch = plain_batch(trainer.documents(trainer.counters.step), trainer.device)
        plain = PlainLoop(model, trainer.vocabulary_size)
        others = {"plain": plain, "llama": llama(model, trainer.vocabulary_size)}
        training = trainer.config.training
        for name, module in others.items():
            if module is None:
                continue
            theirs = PlainTraining(cast(nn.Module, module), training, trainer.device)
            steps[name] = partial(theirs.step, *batch)
            if name == "llama" and training.precision != "fp32":
                exact = training.model_copy(update={"precision": "fp32"})
                whole = PlainTraining(cast(nn.Module, module), exact, trainer.device)
                steps["llama_fp32"] = partial(whole.step, *batch)
    return steps, parts


def plain_batch(batch: "Batch", device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens and targets int64[B, T], -100 where nothing is predicted; made once, not timed."""
    length = int((batch.tokens != 0).any(axis=0).nonzero()[0].max()) + 1
    tokens = torch.from_numpy(batch.tokens[:, :length].astype("int64"))
    mask = torch.from_numpy(batch.loss_mask[:, 1:length].astype("bool"))
    targets = tokens[:, 1:].masked_fill(~mask, -100)
    return tokens[:, :-1].contiguous().to(device), targets.to(device)


def _product(device: torch.device, precision: str) -> Callable[[], Any]:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    side = SIDE[device.type]
    a, b = (torch.ones(side, side, dtype=dtype, device=device) for _ in "ab")
    return lambda: a @ b


def _read_tokens(trainer: Trainer) -> int:
    tokens, _ = plain_batch(trainer.documents(trainer.counters.step - 1), trainer.device)
    return tokens.numel()


def kept_memory(trainer: Trainer) -> int:
    """Bytes kept for the backward pass, without the weights; on a GPU the peak of a step."""
    if trainer.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        trainer.step(trainer.spans[0])
        return torch.cuda.max_memory_allocated()
    weights = {p.untyped_storage().data_ptr() for p in trainer.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        trainer.step(trainer.spans[0])
    return sum(kept.values())
