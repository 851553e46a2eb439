"""The stretches of a training run, in steps and documents."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from experiments.config.frozen import Frozen
from experiments.config.goals import Goal
from experiments.config.loop_sampling import LoopDraw
from generators.task import Task

Beta = Annotated[float, Field(ge=0, lt=1)]


class Phase(Frozen):
    """A stretch of training. Phases follow each other; each has its own learning-rate schedule.

    A phase that reaches its goal ends there: its schedule is cut short, and the next phase begins
    its own at once. Phases that end at a step are as long as if no goal had been reached, unless
    the goal passes its steps on.
    """

    until_step: int | None = Field(
        None, ge=1, description="last step of the phase, counted from 0, if no goal is reached"
    )
    until_exposure: int | None = Field(
        None, ge=1, description="times each person has been shown when the phase ends"
    )
    until_accuracy: Goal | None = Field(
        None, description="accuracy that ends the phase before its last step"
    )
    lr: float | None = Field(None, gt=0, description="peak; None: that of `training`")
    warmup: int = Field(0, ge=0, description="steps of linear warm-up")
    decay: Literal["constant", "linear", "cosine", "sqrt", "wsd"] = Field(
        "constant",
        description="shape of the learning rate after the warm-up; wsd: stable, then linear decay",
    )
    decay_share: float = Field(
        0.2, gt=0, le=1, description="of the steps after the warm-up, in which wsd decays"
    )
    final: float = Field(0.0, ge=0, le=1, description="learning rate at the end, share of the peak")
    loops: int | None = Field(None, ge=1, description="None: those of the model")
    draw: LoopDraw | None = Field(None, description="None: as many loops in every step")
    backprop_loops: int | None = Field(
        None, ge=1, description="only the last so many loops are differentiated; None: all"
    )
    beta: float | None = Field(None, ge=0, description="None: that of the objective")
    weights: dict[str, float] | None = Field(
        None,
        description="of the task's difficulties, or of a mixture's components, 0 for those left "
        "out; None: as the task draws them",
    )
    core: int | None = Field(
        None, ge=1, description="layers of the core before it has grown; None: those of the model"
    )
    growth: Literal["stack", "interleave"] | None = Field(
        None,
        description="how the core grows as the phase begins: from AB to ABAB, or to AABB",
    )

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.until_step is None) == (self.until_exposure is None):
            raise ValueError("a phase needs exactly one of until_step and until_exposure")
        return self


class Training(Frozen):
    """Optimiser, batch, precision and phases."""

    batch: int = Field(1024, ge=1, description="documents per step")
    optimiser: Literal["adamw", "muon"] = Field(
        "adamw",
        description="muon: orthogonalised momentum for the matrices inside the layers (q, k, v, "
        "gate and up each apart), AdamW for embeddings, head, norms, router and whatever joins "
        "the state before a loop",
    )
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    muon_lr: float = Field(
        1e-2,
        gt=0,
        description="peak learning rate of Muon's matrices, times √(rows/columns) of one with "
        "more rows; follows the schedule of `lr` and is scaled as a phase's own `lr` scales that",
    )
    muon_momentum: Beta = Field(0.95, description="of Muon's moving average (Nesterov)")
    betas: tuple[Beta, Beta] = Field((0.9, 0.98), description="of AdamW's two moving averages")
    eps: float = Field(1e-8, gt=0, description="of AdamW")
    weight_decay: float = Field(
        0.1, ge=0, description="on matrices only, at their own learning rate"
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="parts that a batch is computed in, one after another, to save memory; the "
        "step is the same up to rounding",
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay of an average of the weights over all steps, which is what is measured; "
        "None: the last weights",
    )
    clip: float | None = Field(1.0, gt=0, description="largest gradient norm; None: no clipping")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16 computes in half precision and keeps weights in full"
    )
    recompute: bool = Field(
        False, description="loops are computed again in the backward pass, to save memory"
    )
    phases: tuple[Phase, ...] = Field(
        min_length=1, description="stretches of training, one after another"
    )

    @property
    def parts(self) -> int:
        """Parts that a batch is computed in."""
        return min(self.accumulate, self.batch)

    @property
    def part(self) -> int:
        """Most documents of a part."""
        return -(-self.batch // self.parts)


class Span(Frozen):
    """Steps and documents of one phase: steps first … last-1, documents start … stop-1."""

    phase: Phase
    first_step: int
    last_step: int
    first_document: int
    last_document: int


class Before(Frozen):
    """What was trained before a run that goes on with another one.

    Attributes:
        steps, documents: in all runs before it.
        phases: first document and weights of each of their phases.
    """

    steps: int = 0
    documents: int = 0
    phases: tuple[tuple[int, dict[str, float] | None], ...] = ()

    @classmethod
    def after(cls, earlier: "Before", done: Sequence[Span]) -> Self:
        """What was trained when these phases, which came after others, have ended."""
        weights = tuple((span.first_document, span.phase.weights) for span in done)
        return cls(
            steps=done[-1].last_step,
            documents=done[-1].last_document,
            phases=earlier.phases + weights,
        )


NOTHING = Before()


class PhaseError(ValueError):
    """A phase that cannot be; `location` is where in a config."""

    def __init__(self, location: tuple[str, ...], message: str) -> None:
        super().__init__(f"{'.'.join(location)}: {message}")
        self.location = location
        self.message = message


def spans(training: Training, task: Task) -> tuple[Span, ...]:
    """The phases in steps and documents, as `bound_to_phases` counts them."""
    return bound_to_phases(training, task)[1]


def bound_to_phases(
    training: Training,
    task: Task,
    reached: Mapping[int, int] | None = None,
    before: Before = NOTHING,
) -> tuple[Task, tuple[Span, ...]]:
    """The task with the weights of the phases, and the phases in steps and documents.

    A phase that ends at an exposure shows every person exactly that often: its last batch is
    smaller where the documents do not divide.

    Args:
        reached: number of a phase -> step at which its goal ended it. Those after it that end at
            a step keep their lengths, so they end earlier, unless the goal passes its steps on.
        before: from where on the ends of phases count, where a run goes on with another.

    Raises:
        PhaseError: exposures for a task that has none, weights of what it does not have, or
            phases that do not follow each other.
    """
    planned = bound_to_phases(training, task, before=before)[1] if reached else ()
    for first, weights in before.phases:
        task = task.weighted(first, weights)
    found: list[Span] = []
    step, document, saved = before.steps, before.documents, 0
    for i, phase in enumerate(training.phases):
        try:
            task = task.weighted(document, phase.weights)
        except ValueError as error:
            raise PhaseError(("training", "phases", str(i), "weights"), str(error)) from error
        whole, last_document = _written_end(training, i, task, (step, document), before, saved)
        last_step = whole
        if reached and i in reached:
            last_step = reached[i]
            last_document = min(last_document, document + (last_step - step) * training.batch)
        found.append(
            Span(
                phase=phase,
                first_step=step,
                last_step=last_step,
                first_document=document,
                last_document=last_document,
            )
        )
        step, document = last_step, last_document
        goal = phase.until_accuracy
        if planned:
            saved = planned[i].last_step - (whole if goal and goal.pass_on else last_step)
    return task, tuple(found)


def _written_end(
    training: Training, i: int, task: Task, start: tuple[int, int], before: Before, saved: int
) -> tuple[int, int]:
    """The last step and document of phase i as it is written, whatever becomes of its goal.

    Args:
        start: step and document with which it begins.
        saved: steps that goals before it saved.
    """
    phase, (step, document) = training.phases[i], start
    here = ("training", "phases", str(i))
    try:
        exposed = phase.until_exposure and task.documents_of(phase.until_exposure)
    except ValueError as error:
        raise PhaseError((*here, "until_exposure"), str(error)) from error
    if exposed is not None:
        last_document = before.documents + exposed
        last_step = step + -(-(last_document - document) // training.batch)
    else:
        assert phase.until_step is not None
        last_step = before.steps + phase.until_step - saved
        last_document = document + (last_step - step) * training.batch
    if last_step <= step:
        message = f"not after the one before it, which ends at {step}"
        raise PhaseError(here, f"ends at step {last_step}, {message}")
    return last_step, last_document
