"""The recorder of a training run: metrics, status, checkpoints and the time they took."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from experiments.config.chosen_probes import evaluation_probes
from experiments.config.phases import Span
from experiments.errors import LoopscopeError
from experiments.measuring.measure import measure
from experiments.runs.folder import RunFolder
from experiments.runs.json_files import sync
from experiments.runs.status import Status
from experiments.training.background_save import Saver
from experiments.training.goals import look, look_is_due
from experiments.training.optimiser import learning_rate
from experiments.training.trainer import Counters, Trainer
from models.objectives.objective import Loss

#: seconds between two writes of status.json
HEARTBEAT = 1.0


#: seconds of wall and of the processor
Clock = Callable[[], tuple[float, float]]


def process_clock() -> tuple[float, float]:
    """Wall and processor time of this process."""
    return time.perf_counter(), time.process_time()


class Diverged(LoopscopeError):
    """The loss or the weights are no longer finite."""


class Recorder:
    """Writes into the folder of a run, between its steps, whatever is due."""

    def __init__(self, trainer: Trainer, folder: RunFolder, clock: Clock = process_clock) -> None:
        self.trainer, self.folder, self.clock = trainer, folder, clock
        self.loss: float | None = None
        self.checkpoint_step = trainer.counters.step
        self.saver = Saver(folder, self._landed)
        self._checkpoint_time = self._status_time = time.monotonic()
        self._status_counters = Counters(**asdict(trainer.counters))
        self._clocks = clock()

    def check_finite(self) -> None:
        """Reads the losses since it was last called, which waits for the device.

        Raises:
            Diverged: with the first step whose loss is not.
        """
        if not self.trainer.window:
            return
        losses = torch.stack(self.trainer.window).cpu()
        self.trainer.window.clear()
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            i = int(bad[0])
            step = self.trainer.counters.step - len(losses) + i + 1
            raise Diverged(f"loss is {float(losses[i])} at step {step} of {self.trainer.last_step}")
        self.loss = float(losses[-1])

    def tick(self, train: bool = True) -> None:
        """Books the time since the last tick as training or evaluation."""
        wall, cpu = self.clock()
        name = "train_seconds" if train else "evaluate_seconds"
        setattr(
            self.trainer.counters,
            name,
            getattr(self.trainer.counters, name) + wall - self._clocks[0],
        )
        self.trainer.counters.cpu_seconds += cpu - self._clocks[1]
        self._clocks = wall, cpu

    def log(self, loss: Loss, span: Span) -> None:
        """One line of metrics.jsonl."""
        self.check_finite()
        self.tick()
        line = {
            "step": self.trainer.counters.step,
            "loss": self.loss,
            "lr": learning_rate(span, self.trainer.config.training, self.trainer.counters.step - 1),
            "tokens": self.trainer.counters.tokens,
            "seconds": self.trainer.counters.train_seconds,
        }
        self.folder.append_metrics(line | {k: float(v) for k, v in loss.logged.items()})

    def grown(self, record: dict[str, Any] | None) -> None:
        """One line of metrics.jsonl if the model has grown."""
        if record is None:
            return
        self.folder.append_metrics({"step": record["step"], "growth": record})
        self.folder.log(
            f"grows from {record['from']} to {record['to']}: loss {record['loss_before']:.4f} "
            f"before, {record['loss_after']:.4f} after"
        )

    def look(self, span: Span) -> None:
        """One line of metrics.jsonl where it is due to see if a phase has reached its goal."""
        if not look_is_due(self.trainer, span):
            return
        self.tick()
        seen, step = look(self.trainer, span), self.trainer.counters.step
        self.folder.append_metrics({"step": step, "goal": seen})
        if seen["reached"] or step == span.last_step:
            what = "reaches" if seen["reached"] else "ends before it reaches"
            accuracy = f"{seen['accuracy']:.4f} on {seen['split']}"
            self.folder.log(f"phase {seen['phase']} {what} its goal at step {step}: {accuracy}")
        self.tick(train=False)

    def evaluate(self) -> None:
        """One line of metrics.jsonl: what the evaluation's probes measure, and the time until then.

        The processor time is that of the run so far, this evaluation not yet among it.
        """
        self.tick()
        subject, counters = self.trainer.subject, self.trainer.counters
        rows = measure(subject, evaluation_probes(self.trainer.config, subject.task))
        measured = {"measurements": [asdict(row) for row in rows]}
        line = {"step": counters.step, "cpu_seconds": counters.cpu_seconds, **measured}
        self.folder.append_metrics(line)
        self.tick(train=False)

    def observe(self, loss: Loss, span: Span) -> None:
        """Logs, evaluates, saves and reports whatever is due after this step."""
        observe, step = self.trainer.config.observe, self.trainer.counters.step
        last = step == self.trainer.last_step
        if last or step % observe.log_every == 0:
            self.log(loss, span)
        every = observe.evaluate_every
        if every is not None and (last or step % every == 0):
            self.evaluate()
        now = time.monotonic()
        self.saver.poll()
        if last or now - self._checkpoint_time >= observe.checkpoint_seconds:
            self.checkpoint(wait=last)
        if now - self._status_time >= HEARTBEAT:
            self.report()

    def checkpoint(self, wait: bool = True) -> None:
        """Saves the state, which is checked to be finite first.

        Args:
            wait: until it is on the disk; else a large one is written while training goes on.
        """
        if wait:
            self.saver.join()
        if self.checkpoint_step == self.trainer.counters.step:
            return
        self.check_finite()
        for name, parameter in self.trainer.model.named_parameters():
            if not bool(parameter.isfinite().all()):
                raise Diverged(f"{name} is not finite after step {self.trainer.counters.step}")
        self.tick()
        sync(self.folder.metrics_path)
        self.saver.save(self.trainer.state(), wait=wait)
        self._checkpoint_time = time.monotonic()

    def _landed(self, step: int) -> None:
        self.checkpoint_step = step
        if known := self.folder.status():  # at once: whoever counts deaths looks at it
            changes = {"step": self.trainer.counters.step, "checkpoint_step": step}
            self.folder.write_status(known.model_copy(update=changes))

    def report(self, **changes: str) -> None:
        """Writes status.json, with speeds since it was last written."""
        now, counters, before = time.monotonic(), self.trainer.counters, self._status_counters
        elapsed = max(now - self._status_time, 1e-9)
        rate = (counters.step - before.step) / elapsed
        status = Status(
            state="running",
            step=counters.step,
            last_step=self.trainer.last_step,
            loss=float(self.trainer.window[-1]) if self.trainer.window else self.loss,
            tokens_per_second=(counters.tokens - before.tokens) / elapsed if rate else None,
            seconds_left=(self.trainer.last_step - counters.step) / rate if rate else None,
            checkpoint_step=self.checkpoint_step,
            device=str(self.trainer.device),
        )
        self.folder.write_status(status.model_copy(update=changes))
        self._status_time, self._status_counters = now, Counters(**asdict(counters))
