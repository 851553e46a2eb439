"""One run as data. What enters the run id is science; what does not is `observe`.

`RunConfig` says everything that decides a run's weights. Device, paths, workers, probe and
evaluation settings do not, and are not hashed.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from experiments.config.frozen import Frozen
from experiments.config.phases import (
    NOTHING,
    Before,
    Phase,
    Span,
    Training,
    bound_to_phases,
)
from generators.plugins import IDENTITY, OpenUnion
from generators.streams import Stream, generator
from generators.task import Task
from models.config import LoopedConfig
from models.model import ModelConfig, built
from models.objectives.last_loop import LastLoop
from models.objectives.objective import Objective
from probes.probe import Probe

if TYPE_CHECKING:
    from models.interface import LoopedModel

SCHEMA_VERSION = 1
#: fields of `training` that AdamW does not read
MUON_DEFAULTS = {name: Training.model_fields[name].default for name in ("muon_lr", "muon_momentum")}
RUN_ID = r"[\w-]+-\d+x\d+-[0-9a-f]{12}"

AnyTask = Annotated[Task, OpenUnion(Task, "generators")]
AnyModel = Annotated[ModelConfig, OpenUnion(ModelConfig, "models", default="looped")]
AnyObjective = Annotated[Objective, OpenUnion(Objective, "models.objectives")]
AnyProbe = Annotated[Probe, OpenUnion(Probe, "probes")]


#: combinations of former versions of parts that an id is looked for among
MOST_FORMER = 1000


def _versioned(data: Any) -> Iterator[dict[str, Any]]:
    """The parts of an identity that have a version."""
    if isinstance(data, dict):
        if isinstance(data.get("version"), int) and "kind" in data:
            yield data
        for value in data.values():
            yield from _versioned(value)


class Observe(Frozen):
    """What is looked at, and how often; changes no weight and is not hashed."""

    probes: tuple[AnyProbe, ...] | None = Field(
        None, description="measured at the end; None: every probe that applies to the task"
    )
    evaluate_every: int | None = Field(
        None, ge=1, description="steps between evaluations during training (emergence)"
    )
    evaluate_with: tuple[AnyProbe, ...] = Field((), description="its probes; none: accuracy")
    log_every: int = Field(50, ge=1, description="steps between lines of metrics.jsonl")
    checkpoint_seconds: float = Field(60.0, gt=0, description="time between checkpoints")
    compile_blocks: Literal["never", "gpu", "anywhere"] = Field(
        "never",
        description="blocks are compiled for training: faster on a GPU, equal up to rounding; gpu "
        "refuses a CPU, where compiling takes longer than it saves",
    )

    @model_validator(mode="after")
    def _when(self) -> Self:
        if self.evaluate_with and self.evaluate_every is None:
            raise ValueError("evaluate_with needs evaluate_every, the steps between evaluations")
        return self


class RunConfig(Frozen):
    """Everything about one run. `run_id` is a function of the scientific fields alone."""

    task: AnyTask = Field(description="the data")
    model: AnyModel = Field(description="the architecture")
    objective: AnyObjective = Field(LastLoop(), description="the loss")
    training: Training = Field(description="optimiser and phases")
    start: str | None = Field(
        None,
        pattern=f"^{RUN_ID}$",
        description="run id, in the same folder, whose final weights training starts from; in a "
        "grid also {axis: label}, which names a point of it",
    )
    continued: bool = Field(
        False,
        description="the run of `start` goes on with its optimiser, and with the documents that "
        "follow; phases count from where it ended",
    )
    seed: int = Field(
        0, ge=0, le=2**63 - 1, description="of world, initialisation and order of the data"
    )
    observe: Observe = Field(
        Observe(), description="probes, evaluations, logging; enters no run id"
    )

    @field_validator("start", mode="before")
    @classmethod
    def _names_a_run(cls, start: Any) -> Any:
        if isinstance(start, str) and not re.fullmatch(RUN_ID, start):
            raise ValueError(
                f"{start!r} is no id of a run; a point of the same grid is named by its labels, "
                f"such as {{arm: {start}}}"
            )
        return start

    @model_validator(mode="after")
    def _goes_on_with_a_run(self) -> Self:
        if self.continued and self.start is None:
            raise ValueError("continued needs start, the run that goes on")
        return self

    @property
    def max_loops(self) -> int:
        """The largest number of loops in any phase."""
        return max(map(self.most_loops, self.training.phases))

    def most_loops(self, phase: Phase) -> int:
        """The largest number of loops in a phase."""
        return phase.draw.largest if phase.draw else phase.loops or self.model.loops

    def canonical(self) -> Self:
        """With one loop every exit objective is `last_loop`: the same run, so the same id.

        Neither does a phase's β make a difference to an objective that has none, nor truncated
        back-propagation through as many loops as there are, nor settings of an optimiser or a
        decay that is not used.
        """
        objective = self.objective
        if self.max_loops == 1 and objective.uses_gate and not objective.trains_gate_alone:
            objective = LastLoop()
        training = self.training
        if "beta" not in type(objective).model_fields:
            phases = tuple(p.model_copy(update={"beta": None}) for p in training.phases)
            training = training.model_copy(update={"phases": phases})
        phases = tuple(map(self._canonical_phase, training.phases))
        training = training.model_copy(update={"phases": phases})
        if training.optimiser != "muon":
            training = training.model_copy(update=MUON_DEFAULTS)
        return self.model_copy(update={"objective": objective, "training": training})

    def _canonical_phase(self, phase: Phase) -> Phase:
        changes: dict[str, Any] = {}
        if (phase.backprop_loops or 0) >= self.most_loops(phase):
            changes["backprop_loops"] = None
        if phase.decay != "wsd":
            changes["decay_share"] = Phase.model_fields["decay_share"].default
        return phase.model_copy(update=changes)

    def identity(self) -> dict[str, Any]:
        """What is hashed: kind, version and every field that differs from its default.

        Fields at their default are left out, so that a field added later changes no id; a
        default that changes is a new `version` (or schema version), which a test watches.
        """
        run = self.canonical()
        parts = run.model_dump(
            mode="json", include={"task", "model", "objective"}, context=IDENTITY
        )
        training = run.training.model_dump(mode="json", exclude_defaults=True)
        return {
            **parts,
            **({} if self.start is None else {"start": self.start}),
            **({"continued": True} if self.continued else {}),
            "training": training,
            "seed": self.seed,
            "schema_version": SCHEMA_VERSION,
        }

    @property
    def run_id(self) -> str:
        """`<task>-<k>x<n>-<hash12>`."""
        return self._id_of(self.identity())

    def _id_of(self, identity: dict[str, Any]) -> str:
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"{self.task.kind}-{self.model.core}x{self.model.loops}-{digest}"

    def versions_under(self, run_id: str) -> dict[str, int] | None:
        """Kind -> version of its parts under which this has an id, now or formerly; None: never."""
        identity = self.identity()
        parts = list(_versioned(identity))
        versions = [range(part["version"], 0, -1) for part in parts]
        for chosen in itertools.islice(itertools.product(*versions), MOST_FORMER):
            for part, version in zip(parts, chosen, strict=True):
                part["version"] = version
            if self._id_of(identity) == run_id:
                return {part["kind"]: part["version"] for part in parts}
        return None

    def bind(
        self, reached: Mapping[int, int] | None = None, before: Before = NOTHING
    ) -> tuple[Task, tuple[Span, ...]]:
        """The task with this run's seed and the weights of its phases, and the phases' spans.

        Args:
            reached, before: as `bound_to_phases` takes them.
        """
        return bound_to_phases(self.training, self.task.bind(self.seed), reached, before)

    def bound_task(self) -> Task:
        """The task with this run's seed and the weights of its phases."""
        return self.bind()[0]

    def model_of(self, phase: Phase) -> ModelConfig:
        """The model as it is in a phase: `model`, or what is yet to grow to it."""
        if phase.core is None or not isinstance(self.model, LoopedConfig):
            return self.model
        shape = {"core": phase.core, "loops": phase.loops or self.model.loops}
        return self.model.model_copy(update=shape | {"loop_rows": self.model.loop_limit})

    def model_at(self, spans: tuple[Span, ...], step: int) -> ModelConfig:
        """The model as a checkpoint after so many steps holds it; it grows after its checkpoint."""
        return self.model_of(next((s for s in spans if step <= s.last_step), spans[-1]).phase)

    def build_model(self, task: Task, shape: ModelConfig | None = None) -> "LoopedModel":
        """The untrained model for a bound task: weights from the run's own INIT stream.

        Args:
            shape: as `model_at` says for the steps before the end; None: that of the end.

        Raises:
            ValueError: the objective needs a gate and a model from elsewhere has none.
        """
        import torch

        weights_seed = int(generator(self.seed, Stream.INIT).integers(2**63))
        objective = self.canonical().objective
        shape = shape or self.model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(weights_seed)  # for a model from elsewhere that draws from there
            size = len(task.vocabulary)
            model = built(shape, size, gate=objective.uses_gate, seed=weights_seed)
        if objective.uses_gate and model.read_exit is None:
            raise ValueError(
                f"objective {objective.kind} needs an exit gate, and model {shape.kind} builds none"
            )
        if objective.halting is not None:
            model.halting = objective.halting
        return model
