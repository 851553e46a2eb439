"""Runs trained as one would without loopscope: by a plain loop, and by transformers' Trainer."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from io import StringIO
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.bench.models import PlainLoop, PlainTraining
from experiments.bench.train import plain_batch
from experiments.config.chosen_probes import chosen_probes, evaluation_probes
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.measuring.measure import measure
from experiments.training.optimiser import learning_rate
from experiments.training.trainer import Trainer
from models.config import LoopedConfig
from models.interface import LoopedModel
from models.outputs import Positions
from probes.probe import Probe, Subject

#: one measurement
Row = dict[str, Any]
#: difficulty -> accuracy of held-out questions at the end of a run
Answers = dict[int | None, float]


def answers_of(rows: Iterable[Mapping[str, Any]]) -> Answers:
    """The accuracies among rows of measurements."""
    return {row["difficulty"]: row["value"] for row in rows if row["metric"] == "accuracy"}


class PlainRun:
    """One run of the plain loop: the model, its documents, its schedule and its questions."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.source = Trainer(config, "cpu")  # of documents, first weights and phases
        assert isinstance(config.model, LoopedConfig)
        self.model = PlainLoop(config.model, self.source.vocabulary_size)
        self.model.copy_weights(self.source.model)
        self.training = PlainTraining(self.model, config.training, self.source.device)
        self.steps = self.source.last_step
        self.looks: list[dict[str, Any]] = []
        self.begun = time.process_time()  # models are built without being timed, as in a run

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Tokens and targets of a step."""
        return plain_batch(self.source.documents(step), self.source.device)

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return learning_rate(self.source.span_of(step), self.config.training, step)

    def look(self, step: int) -> None:
        """Evaluates where it is due after so many steps; a line as in a run's metrics.jsonl."""
        if step % (self.config.observe.evaluate_every or self.steps) and step != self.steps:
            return
        spent = self.spent()  # this evaluation not among it, as in the lines of a run
        rows = self.measure(evaluation_probes(self.config, self.source.subject.task))
        self.looks.append({"step": step, "cpu_seconds": spent, "measurements": rows})

    def spent(self) -> float:
        """Seconds of processor time since training began."""
        return time.process_time() - self.begun

    def finish(self) -> list[Row]:
        """What the probes of the end find."""
        return self.measure(chosen_probes(self.config, self.source.subject.task))

    def measure(self, probes: tuple[Probe, ...]) -> list[Row]:
        """The rows that probes find."""
        subject = self.source.subject
        asked = cast(LoopedModel, Dense(self.model))
        seen = Subject(asked, subject.task, subject.parameters, subject.seed, subject.device)
        return [asdict(row) for row in measure(seen, probes)]


class Dense(nn.Module):
    """A plain loop as probes ask it: logits at every token, of which they take what they want."""

    def __init__(self, model: PlainLoop) -> None:
        super().__init__()
        self.model, self.config, self.found = model, model.config, torch.empty(0)
        self.n_loops = model.config.loops

    def forward(self, tokens: Tensor, n_loops: int | None = None) -> "Dense":
        self._check(n_loops)
        self.found = self.model(tokens)
        return self

    def logits(self, loop: int | None = None, at: Positions | None = None) -> Tensor:
        self._check(loop)
        return self.found if at is None else self.found[at]

    def _check(self, loop: int | None) -> None:
        if loop not in (None, self.n_loops):
            raise LoopscopeError(
                f"the plain loop answers after its last loop, {self.n_loops}, and a probe of this "
                f"run asks it after loop {loop}; let the grid's probes read the last loop alone"
            )


def train_plainly(run: PlainRun) -> list[Row]:
    """Trains a run by a plain loop over its steps; what is measured at the end."""
    for step in range(run.steps):
        for group in run.training.optimiser.param_groups:
            group["lr"] = run.rate(step)
        run.training.step(*run.batch(step))
        run.look(step + 1)
    return run.finish()


def train_by_trainer(run: PlainRun) -> list[Row]:
    """Trains a run by the Trainer of transformers; what is measured at the end."""
    from torch.utils.data import IterableDataset
    from transformers import Trainer as HuggingFaceTrainer  # pyrefly: ignore
    from transformers import TrainerCallback, TrainingArguments  # pyrefly: ignore

    class Documents(IterableDataset):
        def __iter__(self) -> Iterator[dict[str, Tensor]]:
            for step in range(run.steps):
                for tokens, labels in zip(*run.batch(step), strict=True):
                    yield {"tokens": tokens, "labels": labels}

    class Losses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = run.model

        def forward(self, tokens: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.model(tokens)
            return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten())}

    class Looks(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            run.look(state.global_step)

    training, peak = run.config.training, run.config.training.lr
    optimiser = run.training.optimiser
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: run.rate(min(step, run.steps - 1)) / peak
    )
    with TemporaryDirectory() as path:
        arguments = TrainingArguments(
            path,
            max_steps=run.steps,
            per_device_train_batch_size=training.batch,
            max_grad_norm=training.clip or 0.0,
            logging_steps=run.config.observe.log_every,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        with redirect_stdout(StringIO()):  # it prints what it logs
            HuggingFaceTrainer(
                Losses(),
                arguments,
                train_dataset=Documents(),
                optimizers=(optimiser, schedule),
                callbacks=[Looks()],
            ).train()
    return run.finish()


#: the ways by name
TRAINERS: dict[str, Callable[[PlainRun], list[Row]]] = {
    "plain": train_plainly,
    "trainer": train_by_trainer,
}
