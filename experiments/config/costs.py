"""What a run costs, from its config alone: parameters, tokens, FLOPs, and the work behind its time.

The time of a run is modelled as linear in five counts, each summed over its optimiser steps:

    seconds = a·steps + b·calls + c·FLOPs + d·values + e·updates

`calls` are applications of a block in forward passes (what launching its operations costs),
FLOPs the nominal ones of `models.counts` (matrix products) and those of Muon, `values` the
numbers that element-wise operations read and write (norms, non-linearities, softmaxes of the
head; taken as in proportion to those kept for the backward pass, see `memory`), which small
widths spend most of their time on, `updates` parameters times steps (the optimiser). So time is
linear in loops, tokens and steps. `loopscope calibrate` measures a … e on a device.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from experiments.config.loop_sampling import expected_loops
from experiments.config.memory import PER_LOGIT, block_applications
from experiments.config.phases import Span, spans
from experiments.config.run import RunConfig
from experiments.errors import LoopscopeError, wrap_plugin_error
from generators.streams import Stream, generator
from generators.task import Task
from models.config import LoopedConfig
from models.model import ModelConfig

#: iterations of Muon's orthogonalisation
NEWTON_SCHULZ_STEPS = 5
#: batches that are looked at, and tokens with padding in all of them, at most
BATCHES, CELLS = 32, 2**20


@dataclass(frozen=True)
class Work:
    """The counts that time is linear in, over all steps of a run."""

    steps: float = 0.0
    calls: float = 0.0
    flops: float = 0.0
    values: float = 0.0
    updates: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(a + b for a, b in zip(self.counts, other.counts, strict=True)))

    @property
    def counts(self) -> tuple[float, ...]:
        return self.steps, self.calls, self.flops, self.values, self.updates


@dataclass(frozen=True)
class Cost:
    """The cost of one run, from a typical batch of each phase times the batches of the phase.

    Attributes:
        parameters: by part, with their `total`.
        tokens: without padding.
        train_flops: nominal: forward and backward of the whole architecture, heads included. What
            is compute-matched, and the time of a run, are told by these.
        executed_flops: of them those that training computes, what it computes again, and the
            products by which Muon orthogonalises.
    """

    parameters: dict[str, int]
    steps: int
    documents: int
    tokens: int
    train_flops: int
    executed_flops: int = 0


@dataclass(frozen=True)
class Shape:
    """The size of a task's documents: averages per document, and columns the model reads.

    Attributes:
        context: mean over batches of the columns of the longest document, without its last token.
        queries: mean over batches of the most predicted tokens of a document.
    """

    vocabulary: int
    tokens: float
    predicted: float
    context: float
    queries: float


def cost(config: RunConfig) -> Cost:
    """What a run costs."""
    return cost_and_work(config)[0]


def cost_and_work(config: RunConfig) -> tuple[Cost, Work]:
    """What a run costs, and the counts behind its time.

    Raises:
        LoopscopeError: the task cannot make a batch, or a model from elsewhere cannot be counted.
    """
    config = config.canonical()
    try:
        return _cost_and_work(config)
    except LoopscopeError:
        raise
    except Exception as error:
        if isinstance(config.model, LoopedConfig):
            raise
        raise wrap_plugin_error(f"model {config.model.kind}: what it costs", error) from error


def _cost_and_work(config: RunConfig) -> tuple[Cost, Work]:
    task, model, objective = config.task, config.model, config.objective
    found = spans(config.training, task)
    text, batch = task.model_dump_json(), config.training.part
    vocabulary, tokens, work, executed, moved = 0, 0.0, Work(), 0.0, 0
    for span in found:
        weights = span.phase.weights
        asked = None if weights is None else tuple(sorted(weights.items()))
        shape = shape_of_batch(type(task), text, batch, asked)
        vocabulary = shape.vocabulary
        tokens += (span.last_document - span.first_document) * shape.tokens
        shaped = config.model_of(span.phase)
        loops = span.phase.loops or shaped.loops
        for n_loops, share in expected_loops(span.phase.draw, loops):
            part, computed = _work(config, shaped, span, shape, n_loops, share)
            work, executed = work + part, executed + computed
        if config.training.optimiser == "muon" and not objective.trains_gate_alone:
            matrices = shaped.hidden_matrices(vocabulary, gate=objective.uses_gate)
            moved += (span.last_step - span.first_step) * orthogonalising_flops(matrices)
    known = Cost(
        parameters=model.count_parameters(vocabulary, gate=objective.uses_gate),
        steps=found[-1].last_step,
        documents=found[-1].last_document,
        tokens=round(tokens),
        train_flops=round(work.flops),
        executed_flops=round(executed + moved),
    )
    return known, work + Work(flops=moved)


def orthogonalising_flops(matrices: Mapping[tuple[int, int], int]) -> int:
    """FLOPs of the matrix products by which Muon orthogonalises matrices, in one step.

    An iteration has X·Xᵀ, its square, and their product with X, for X [a, b] with a ≤ b.

    Args:
        matrices: (rows, columns) -> how many have them.
    """
    total = 0
    for size, number in matrices.items():
        a, b = sorted(size)
        total += number * NEWTON_SCHULZ_STEPS * 2 * (2 * a * a * b + a**3)
    return total


def _work(
    config: RunConfig, model: ModelConfig, span: Span, shape: Shape, n_loops: int, share: float
) -> tuple[Work, float]:
    """The work of the documents in this span that run `n_loops` loops, a share of all.

    With it come the FLOPs that their steps execute.
    """
    objective = config.objective
    documents = span.last_document - span.first_document
    steps = span.last_step - span.first_step
    with_pass = share  # of the steps, those with a pass of so many loops
    if span.phase.draw is not None and span.phase.draw.per == "document":
        with_pass = 1 - (1 - share) ** (documents / steps)
    losses = objective.losses_computed(n_loops)
    predicted = round(documents * shape.predicted)
    columns = max(round(shape.context), 1)
    sizes: dict[str, Any] = {
        "documents": round(documents * shape.context / columns),
        "context": columns,
        "predicted": predicted,
        "n_loops": n_loops,
        "losses": losses,
        "gate": objective.uses_gate,
    }
    forward = model.forward_flops(shape.vocabulary, **sizes)
    sizes |= {"backprop_loops": span.phase.backprop_loops, "frozen": objective.trains_gate_alone}
    sizes["more_loops"] = objective.loops_run(n_loops)
    train = model.training_flops(shape.vocabulary, **sizes)
    again = config.training.recompute
    queries = round(shape.queries)
    executed = model.executed_flops(shape.vocabulary, queries=queries, recompute=again, **sizes)
    calls, kept = block_applications(model, n_loops, losses)
    values = documents * shape.context * calls * kept
    values += PER_LOGIT * predicted * shape.vocabulary * losses
    again = 0.0
    if config.training.recompute:  # all loops but the last
        again = forward / train * (1 - 1 / n_loops)
    passes = train / forward * (1 + again)  # a backward pass takes as long as it has FLOPs
    parameters = model.count_parameters(shape.vocabulary, gate=objective.uses_gate)["total"]
    work = Work(
        steps=share * steps,
        calls=with_pass * steps * config.training.parts * calls * passes / 3,
        flops=share * train,
        values=share * values * passes / 3,
        updates=share * steps * (0 if objective.trains_gate_alone else parameters),
    )
    return work, share * executed


@cache
def shape_of_batch(
    task_class: type[Task],
    task_json: str,
    batch: int,
    weights: tuple[tuple[str, float], ...] | None = None,
) -> Shape:
    """From batches of a sketch of the task, so that large worlds take no longer than small ones.

    Cached, since runs of a grid share few tasks, and different tasks often a sketch.

    Args:
        weights: of a phase of training.

    Raises:
        LoopscopeError: the task cannot make one.
    """
    task = task_class.model_validate_json(task_json)
    try:
        vocabulary, small = task.vocabulary_size, task.sketch()
        found = _documents(type(small), small.model_dump_json(), batch, weights)
    except Exception as error:  # whatever a plugin does wrong
        raise wrap_plugin_error(f"task {task.kind}: a batch of {batch}", error) from error
    return Shape(vocabulary, *found)


@cache
def _documents(
    task_class: type[Task],
    task_json: str,
    batch: int,
    weights: tuple[tuple[str, float], ...] | None,
) -> tuple[float, float, float, float]:
    """Tokens and predicted tokens of a document, columns and the most predicted, averaged."""
    task = task_class.model_validate_json(task_json).bind(0)
    task = task.weighted(0, None if weights is None else dict(weights))
    n = max(1, min(batch, CELLS // task.context_length))
    tokens, predicted, columns, most = 0, 0, list[int](), 0
    for i in range(max(1, min(BATCHES, CELLS // (n * task.context_length)))):
        sample = task.training_batch(generator(0, Stream.TRAIN, i), n, i * n)
        used = sample.tokens != 0
        tokens += int(used.sum())
        each = sample.loss_mask[:, 1:].sum(axis=1)
        predicted, most = predicted + int(each.sum()), most + int(each.max())
        columns.append(int(used.any(axis=0).nonzero()[0].max()))
    documents = n * len(columns)
    averages = (most / len(columns), sum(columns) / len(columns))
    return tokens / documents, predicted / documents, *averages[::-1]
