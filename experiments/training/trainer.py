"""The state of a training run and one optimiser step.

What happens at a step depends on the config and the step number alone: documents come from
`generator(seed, Stream.TRAIN, step)`, so a checkpoint needs weights, optimiser and counters.

Legend: B documents, T tokens of the longest one, M predicted positions.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from experiments.config.goals import ends_of
from experiments.config.loop_sampling import loops_of_documents
from experiments.config.phases import NOTHING, Before, Phase, Span, bound_to_phases
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError
from experiments.training.averaging import average_weights
from experiments.training.inputs import joined, model_inputs, parts_by_loops
from experiments.training.muon import products_of
from experiments.training.optimiser import build_optimiser, set_learning_rates
from experiments.training.prefetch import Prefetch
from generators.streams import Stream, generator
from generators.task import Batch
from models.config import LoopedConfig
from models.fast.compiling import compile_blocks
from models.interface import LoopedModel
from models.model import ModelConfig
from models.objectives.objective import Loss
from models.outputs import LoopOutputs
from probes.probe import Subject


@dataclass
class Counters:
    """Resources that a run has used; times leave out work that was lost in a crash.

    Attributes:
        step: optimiser steps done.
        tokens: without padding.
        train_flops: nominal: forward and backward of the whole architecture, heads included.
        executed_flops: of the matrix products that were computed.
        train_seconds, evaluate_seconds: wall time.
        cpu_seconds: process time of both; with one thread what an idle machine would take.
    """

    step: int = 0
    documents: int = 0
    tokens: int = 0
    train_flops: int = 0
    executed_flops: int = 0
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    cpu_seconds: float = 0.0


class Trainer:
    """The state of one training run and its steps.

    Attributes:
        model: what is trained.
        average: averages of its weights, which are measured, where `training.ema` is set.
    """

    def __init__(self, config: RunConfig, device: str) -> None:
        self.config = config.canonical()
        self.device = torch.device(device)
        self.objective = self.config.objective
        self.prefetch = Prefetch[Batch](self.device.type == "cuda")
        self.task = self.config.task.bind(self.config.seed)
        self.follow([], NOTHING)
        self.vocabulary_size = len(self.task.vocabulary)
        self.adopt(self.config.build_model(self.task, self.config.model_at(self.spans, 0)))
        self.counters = Counters()
        #: what each growth of the core did to the loss
        self.growths: list[dict[str, Any]] = []
        #: losses that the recorder has not read: they stay on the device, reading waits for it
        self.window: list[Tensor] = []

    def adopt(self, model: LoopedModel) -> None:
        """Continues with this model and a new optimiser."""
        self.model = model.to(self.device)
        self._compile()
        if self.objective.trains_gate_alone:
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(name.startswith("gate."))
        self.optimiser = build_optimiser(self.model, self.config.training)
        self.average = None if self.config.training.ema is None else deepcopy(self.model)
        self.subject = Subject(
            self.measured, self.task, model.count_parameters(), self.config.seed, self.device
        )

    @property
    def measured(self) -> LoopedModel:
        """The model that probes see."""
        return self.model if self.average is None else self.average

    def _compile(self) -> None:
        """Raises LoopscopeError where blocks are to be compiled for a GPU and there is none."""
        wanted = self.config.observe.compile_blocks
        if wanted == "never":
            return
        if wanted == "gpu" and self.device.type == "cpu":
            raise LoopscopeError(
                "observe.compile_blocks gpu on device cpu: compiling takes longer there than it "
                "saves; `anywhere` compiles all the same, `never` does not"
            )
        compile_blocks(self.model)

    def follow(self, goals: list[dict[str, Any]], before: Before | None = None) -> None:
        """Takes the phases as they are given what became of their goals.

        Args:
            goals: of every phase that had one and has ended: when, and whether it was reached.
            before: what the run that this one goes on with has done; None: as known.
        """
        self.goals, self.before = goals, before or self.before
        phases = bound_to_phases(self.config.training, self.task, ends_of(goals), self.before)
        self.task, self.spans = phases
        self.last_step = self.spans[-1].last_step
        self.prefetch.forget()

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
        goals, before = state.get("goals", []), state.get("before")
        if goals or before:
            self.follow(goals, Before.model_validate(before) if before else None)
            self.subject = replace(self.subject, task=self.task)
        shape = self.config.model_at(self.spans, state["step"])
        if shape != self.model.config:
            self.adopt(self.config.build_model(self.task, shape))
        self.model.load_state_dict(state.get("last_weights", state["model"]))
        if self.average is not None:
            self.average.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.counters = Counters(**state["counters"])
        self.growths = state.get("growths", [])

    def state(self) -> dict[str, Any]:
        """The state that `restore` needs: tensors and plain types.

        `model` is what is measured. Where that is an average, `last_weights` is what is trained.
        """
        last = {} if self.average is None else {"last_weights": self.model.state_dict()}
        return {
            "step": self.counters.step,
            "model": self.measured.state_dict(),
            **last,
            "optimiser": self.optimiser.state_dict(),
            "counters": asdict(self.counters),
            "growths": self.growths,
            "goals": self.goals,
            **({"before": self.before.model_dump()} if self.config.continued else {}),
        }

    def span_of(self, step: int) -> Span:
        """The phase of a step."""
        return next(span for span in reversed(self.spans) if span.first_step <= step)

    def documents(self, step: int) -> Batch:
        """The batch of a step, the same whenever it is asked for."""
        batch = self.config.training.batch
        span = self.span_of(step)
        first = span.first_document + (step - span.first_step) * batch
        n = min(batch, span.last_document - first)
        rng = generator(self.config.seed, Stream.TRAIN, step)
        found = self.task.training_batch(rng, n, first)
        if len(found) != n:
            kind = self.config.task.kind
            raise ValueError(f"task {kind} gave {len(found)} documents where {n} were asked for")
        return found

    def step(self, span: Span, mark: Callable[[str], None] = lambda part: None) -> Loss:
        """One optimiser step.

        Args:
            mark: is told of each part of a step, `data`, `forward`, `backward` and `optimiser`,
                when it is done; of `data` again at the end, where the next batch may be waited
                for.
        """
        training, step, phase = self.config.training, self.counters.step, span.phase
        with self.prefetch.taken(self.documents, step, self.last_step) as batch:
            wanted = phase.loops or self.config.model.loops
            loops = loops_of_documents(phase.draw, wanted, self.config.seed, step, len(batch))
            set_learning_rates(self.optimiser.param_groups, span, training, step)
            if self.model.config.draws_noise or self.objective.draws_noise:
                noise = generator(self.config.seed, Stream.NOISE, step)
                torch.manual_seed(int(noise.integers(2**63)))
            self.optimiser.zero_grad(set_to_none=True)
            parts = [p for p in parts_by_loops(batch, loops, training.parts) if p[1]]
            losses = []
            for part, share, n_loops in parts:
                losses.append(self._loss(part, n_loops, phase, mark))
                (losses[-1].total * share).backward()
                mark("backward")
            if training.clip is not None:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), training.clip)
            self.optimiser.step()
            mark("optimiser")
            loss = joined(losses, [share for _, share, _ in parts])
            self.window.append(loss.total.detach())
            self.stepped(batch)
        mark("data")
        return loss

    def _loss(self, part: Batch, loops: int, phase: Phase, mark: Callable[[str], None]) -> Loss:
        """The loss of a part of a batch, which is counted as passed through the model."""
        inputs, at, targets = model_inputs(part, self.device)
        mark("data")
        with self.precision():
            read = None if self.objective.uses_map else at
            outputs = self.model(inputs, loops, read=read, **self.backward_options(phase))
            loss = self.objective.loss(outputs, at, targets, beta=phase.beta)
            self._balance(outputs, loss)
        mark("forward")
        self.count_pass(part, inputs.shape[1], len(targets), loops, phase.backprop_loops)
        return loss

    def stepped(self, batch: Batch) -> None:
        """Books a step that the optimiser has taken on this batch."""
        self.counters.step += 1
        self.counters.documents += len(batch)
        self.counters.tokens += int((batch.tokens != 0).sum())
        self.counters.executed_flops += products_of(self.optimiser.param_groups)
        if self.average is not None:
            decay = self.config.training.ema
            assert decay is not None
            average_weights(self.average, self.model, decay, self.counters.step)

    def backward_options(self, phase: Phase) -> dict[str, Any]:
        """Options of a forward pass that decide what is kept for the backward pass."""
        options: dict[str, Any] = {}
        if phase.backprop_loops is not None:
            options["backprop_loops"] = phase.backprop_loops
        if self.config.training.recompute:
            options["recompute"] = True
        return options

    def _balance(self, outputs: LoopOutputs, loss: Loss) -> None:
        """Adds a mixture of experts' load-balancing loss."""
        imbalance, config = outputs.read_imbalance(), self.model.config
        if imbalance is None or not isinstance(config, LoopedConfig):
            return
        if not self.objective.trains_gate_alone:
            loss.total = loss.total + config.balance * imbalance
            loss.logged["imbalance"] = imbalance.detach()

    def precision(self) -> AbstractContextManager:
        """The precision in which a forward pass is computed."""
        half = self.config.training.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

    def count_pass(
        self, part: Batch, context: int, predicted: int, loops: int, differentiated: int | None
    ) -> None:
        """Books a pass over so many columns of these documents, as if the run were alone."""
        config = self.model.config
        assert isinstance(config, ModelConfig)
        sizes: dict[str, Any] = {
            "documents": len(part),
            "context": context,
            "predicted": predicted,
            "n_loops": loops,
            "losses": self.objective.losses_computed(loops),
            "gate": self.objective.uses_gate,
            "backprop_loops": differentiated,
            "frozen": self.objective.trains_gate_alone,
            "more_loops": self.objective.loops_run(loops),
        }
        self.counters.train_flops += config.training_flops(self.vocabulary_size, **sizes)
        self.counters.executed_flops += config.executed_flops(
            self.vocabulary_size,
            queries=int(part.loss_mask[:, 1:].astype(bool).sum(axis=1).max()),
            recompute=self.config.training.recompute,
            **sizes,
        )
