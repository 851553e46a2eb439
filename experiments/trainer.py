"""The state of a training run, one optimiser step, and what is written down about it.

What happens at a step depends on the config and the step number alone: documents come from
`generator(seed, Stream.TRAIN, step)`, so a checkpoint needs weights, optimiser and counters.

Legend: B documents, T tokens of the longest one, M predicted positions.
"""

import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from experiments.checkpoint import save_checkpoint
from experiments.config import Phase, RunConfig, Span, spans
from experiments.errors import LoopscopeError
from experiments.files import sync
from experiments.loops import loops_of_step
from experiments.measure import measure, subject_of
from experiments.optimiser import build_optimiser, learning_rate
from experiments.store import RunFolder, Status
from generators.streams import Stream, generator
from generators.task import Batch
from models.counts import training_flops
from models.objectives.objective import Loss
from models.outputs import LoopOutputs, Positions

#: seconds between two writes of status.json
HEARTBEAT = 1.0


class Diverged(LoopscopeError):
    """The loss or the weights are no longer finite."""


@dataclass
class Counters:
    """What a run has used up; times leave out work that was lost in a crash.

    Attributes:
        step: optimiser steps done.
        tokens: without padding.
        train_flops: forward and backward, heads included.
        train_seconds, evaluate_seconds: wall time.
        cpu_seconds: process time of both; with one thread what an idle machine would take.
    """

    step: int = 0
    documents: int = 0
    tokens: int = 0
    train_flops: int = 0
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    cpu_seconds: float = 0.0


def model_inputs(batch: Batch, device: torch.device) -> tuple[Tensor, Positions, Tensor]:
    """What the model reads and what it is to predict.

    Returns:
        inputs int64[B, T-1], positions that predict (two int64[M]), targets int64[M].

    Raises:
        ValueError: not a mask of these tokens.
    """
    if batch.tokens.shape != batch.loss_mask.shape:
        shapes = f"{batch.tokens.shape} and {batch.loss_mask.shape}"
        raise ValueError(f"tokens and loss_mask of a batch need one shape, got {shapes}")
    longest = int((batch.tokens != 0).any(axis=0).nonzero()[0].max()) + 1
    tokens = torch.from_numpy(batch.tokens[:, :longest].astype("int64"))
    predicted = torch.from_numpy(batch.loss_mask[:, 1:longest].astype("bool"))
    row, column = predicted.nonzero(as_tuple=True)
    targets = tokens[row, column + 1]
    at = (row.to(device), column.to(device))
    return tokens[:, :-1].to(device), at, targets.to(device)


class Trainer:
    """The state of one training run and its steps."""

    def __init__(self, config: RunConfig, folder: RunFolder, device: str) -> None:
        self.config = config.canonical()
        self.folder = folder
        self.device = torch.device(device)
        self.objective = self.config.objective
        self.task = self.config.bound_task()
        self.vocabulary_size = len(self.task.vocabulary)
        self.model = self.config.build_model(self.task).to(self.device)
        if self.objective.trains_gate_alone:
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(name.startswith("gate."))
        self.optimiser = build_optimiser(self.model, config.training)
        self.spans = spans(config.training, self.task.items_per_exposure)
        self.last_step = self.spans[-1].last_step
        self.subject = subject_of(self.config, self.model, self.task, self.device)
        self.counters = Counters()
        #: losses since the last look: they stay on the device, looking waits for it
        self.window: list[Tensor] = []
        self.loss: float | None = None
        self.checkpoint_step = 0
        self._checkpoint_time = self._status_time = time.monotonic()
        self._status_counters = Counters()
        self._clocks = time.perf_counter(), time.process_time()

    def start_from(self, weights: dict[str, Tensor], run_id: str) -> None:
        """Takes over the weights of another run; a gate that it lacks stays as it is.

        Raises:
            LoopscopeError: they are of another shape.
        """
        own = self.model.state_dict()
        missing = [name for name in own.keys() - weights.keys() if not name.startswith("gate.")]
        strange = [name for name in weights.keys() - own.keys() if not name.startswith("gate.")]
        other = [k for k in own.keys() & weights.keys() if own[k].shape != weights[k].shape]
        if wrong := sorted(missing + strange + other):
            raise LoopscopeError(
                f"the model of start {run_id} has another shape: {', '.join(wrong)} differ; "
                "task and model have to be those of that run"
            )
        self.model.load_state_dict(own | {k: weights[k] for k in own.keys() & weights.keys()})

    def restore(self, state: dict) -> None:
        """Goes back to a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.counters = Counters(**state["counters"])
        self.checkpoint_step = self.counters.step
        self._status_counters = Counters(**state["counters"])

    def step(self, span: Span) -> Loss:
        """One optimiser step."""
        training, step = self.config.training, self.counters.step
        first = span.first_document + (step - span.first_step) * training.batch
        n = min(training.batch, span.last_document - first)
        rng = generator(self.config.seed, Stream.TRAIN, step)
        batch = self.task.sample(rng, n, index=first)
        inputs, at, targets = model_inputs(batch, self.device)
        phase = span.phase
        wanted = phase.loops or self.config.model.loops
        loops = loops_of_step(phase.draw, wanted, self.config.seed, step)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(span, training, step)
        with self._precision():
            outputs = self.model(inputs, loops, **self._backward(phase))
            loss = self.objective.loss(outputs, at, targets, beta=phase.beta)
            self._balance(outputs, loss)
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        if training.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), training.clip)
        self.optimiser.step()
        self.window.append(loss.total.detach())
        self._count(batch, inputs, len(targets), loops, phase.backprop_loops)
        return loss

    def _backward(self, phase: Phase) -> dict[str, Any]:
        """What is asked of a forward pass for the sake of the backward pass."""
        options: dict[str, Any] = {}
        if phase.backprop_loops is not None:
            options["backprop_loops"] = phase.backprop_loops
        if self.config.training.recompute:
            options["recompute"] = True
        return options

    def _balance(self, outputs: LoopOutputs, loss: Loss) -> None:
        """Adds a mixture of experts' load-balancing loss."""
        imbalance = outputs.read_imbalance()
        if imbalance is not None and not self.objective.trains_gate_alone:
            loss.total = loss.total + self.config.model.balance * imbalance
            loss.logged["imbalance"] = imbalance.detach()

    def _precision(self) -> AbstractContextManager:
        half = self.config.training.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

    def _count(
        self, batch: Batch, inputs: Tensor, predicted: int, loops: int, differentiated: int | None
    ) -> None:
        counters = self.counters
        counters.step += 1
        counters.documents += len(batch)
        counters.tokens += int((batch.tokens != 0).sum())
        counters.train_flops += training_flops(
            self.config.model,
            self.vocabulary_size,
            documents=inputs.shape[0],
            context=inputs.shape[1],
            predicted=predicted,
            n_loops=loops,
            losses=self.objective.losses_computed(loops),
            gate=self.objective.uses_gate,
            backprop_loops=differentiated,
            frozen=self.objective.trains_gate_alone,
        )

    def check_finite(self) -> None:
        """Looks at the losses since the last look.

        Raises:
            Diverged: with the first step whose loss is not.
        """
        if not self.window:
            return None
        losses = torch.stack(self.window).cpu()
        self.window.clear()
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            i = int(bad[0])
            step = self.counters.step - len(losses) + i + 1
            raise Diverged(f"loss is {float(losses[i])} at step {step} of {self.last_step}")
        self.loss = float(losses[-1])

    def tick(self, train: bool = True) -> None:
        """Books the time since the last tick as training or evaluation."""
        wall, cpu = time.perf_counter(), time.process_time()
        name = "train_seconds" if train else "evaluate_seconds"
        setattr(self.counters, name, getattr(self.counters, name) + wall - self._clocks[0])
        self.counters.cpu_seconds += cpu - self._clocks[1]
        self._clocks = wall, cpu

    def log(self, loss: Loss, span: Span) -> None:
        """One line of metrics.jsonl."""
        self.check_finite()
        self.tick()
        line = {
            "step": self.counters.step,
            "loss": self.loss,
            "lr": learning_rate(span, self.config.training, self.counters.step - 1),
            "tokens": self.counters.tokens,
            "seconds": self.counters.train_seconds,
        }
        self.folder.append_metrics(line | {k: float(v) for k, v in loss.logged.items()})

    def evaluate(self) -> None:
        """One line of metrics.jsonl with the measurements of `observe.evaluate_with`."""
        self.tick()
        rows = measure(self.subject, self.config.observe.evaluate_with)
        self.folder.append_metrics(
            {"step": self.counters.step, "measurements": [asdict(row) for row in rows]}
        )
        self.tick(train=False)

    def observe(self, loss: Loss, span: Span) -> None:
        """Whatever is due after this step."""
        observe, step = self.config.observe, self.counters.step
        last = step == self.last_step
        if last or step % observe.log_every == 0:
            self.log(loss, span)
        every = observe.evaluate_every
        if every is not None and observe.evaluate_with and (last or step % every == 0):
            self.evaluate()
        now = time.monotonic()
        if last or now - self._checkpoint_time >= observe.checkpoint_seconds:
            self.checkpoint()
        if now - self._status_time >= HEARTBEAT:
            self.report()

    def checkpoint(self) -> None:
        """Saves the state, which is checked to be finite first."""
        if self.checkpoint_step == self.counters.step:
            return
        self.check_finite()
        for name, parameter in self.model.named_parameters():
            if not bool(parameter.isfinite().all()):
                raise Diverged(f"{name} is not finite after step {self.counters.step}")
        self.tick()
        sync(self.folder.metrics_path)
        state = {
            "step": self.counters.step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "counters": asdict(self.counters),
        }
        save_checkpoint(self.folder, state)
        self.checkpoint_step = self.counters.step
        self._checkpoint_time = time.monotonic()

    def report(self, **changes: str) -> None:
        """Writes status.json, with speeds since it was last written."""
        now, counters, before = time.monotonic(), self.counters, self._status_counters
        elapsed = max(now - self._status_time, 1e-9)
        rate = (counters.step - before.step) / elapsed
        status = Status(
            state="running",
            step=counters.step,
            last_step=self.last_step,
            loss=float(self.window[-1]) if self.window else self.loss,
            tokens_per_second=(counters.tokens - before.tokens) / elapsed if rate else None,
            seconds_left=(self.last_step - counters.step) / rate if rate else None,
            checkpoint_step=self.checkpoint_step,
            device=str(self.device),
        )
        self.folder.write_status(status.model_copy(update=changes))
        self._status_time, self._status_counters = now, Counters(**asdict(counters))
