"""The contract of a probe: a trained model and its task in, measurements out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

from generators.task import Task

if TYPE_CHECKING:
    import torch

    from models.interface import LoopedModel
    from models.looped import LoopedTransformer
    from models.model import ModelConfig
    from models.objectives.objective import Objective


@dataclass(frozen=True)
class Measurement:
    """One number with everything needed to read it: a row of the long results table.

    Attributes:
        metric: what was measured, with its unit in the name where it has one
            (`accuracy`, `bits_per_parameter`, `nll_nats`).
        split, item, difficulty, loop: where; empty or None where it does not apply. `loop` is
            the loop whose head was read.
        floor, ceiling: value without the ability, and the largest possible value.
        low, high: 95 % interval over items (not over seeds).
        n_items: documents or people behind the number.
    """

    metric: str
    value: float
    n_items: int
    component: str = ""
    split: str = ""
    item: str = ""
    difficulty: int | None = None
    loop: int | None = None
    floor: float | None = None
    ceiling: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Subject:
    """A trained model (in eval mode, fp32) with the bound task it was trained on.

    Attributes:
        parameters: by part, from `model.count_parameters()`.
        seed: the run's seed, from which the probe draws its documents.
        device: where the model is.
        trained: the task that the model was trained on, of which `task` is a component; None:
            `task` itself.
    """

    model: "LoopedModel"
    task: Task
    parameters: dict[str, int]
    seed: int
    device: "torch.device"
    trained: Task | None = None

    @property
    def counted_parameters(self) -> int:
        """P of bits per parameter: all but rows of the vocabulary that no document has.

        After 2404.05405, section 3. All of a model that does not tell its embedding apart.
        """
        occurring = (self.trained or self.task).occurring
        rows = len(occurring) - 1  # that of <pad> is not counted at all
        embedding = self.parameters.get("embedding", 0) + self.parameters.get("head", 0)
        unused = rows - int(occurring.sum())
        return self.parameters["total"] - embedding // max(rows, 1) * unused

    @property
    def looped(self) -> "LoopedTransformer":
        """The model as one whose blocks and states are accessible.

        Raises:
            ValueError: it comes from elsewhere.
        """
        from models.looped import LoopedTransformer

        if not isinstance(self.model, LoopedTransformer):
            raise ValueError(
                f"model {self.model.config.kind} maps tokens to states and shows nothing else of "
                "itself; this needs one of kind looped"
            )
        return self.model


class Misfit(ValueError):
    """Settings of a probe that do not fit a task or a model.

    Attributes:
        problems: (field, what is wrong with it), the field empty where it is the probe itself.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(message for _, message in problems))
        self.problems = tuple(problems)


class Probe(BaseModel, ABC):
    """A frozen configuration that measures. Probe settings never enter the run id.

    A subclass declares `kind: Literal["its-name"] = "its-name"` and raises `version` whenever
    the same settings would give another number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    version: ClassVar[int] = 1
    #: whether a run that names no probes is measured this way; False for what takes long
    by_default: ClassVar[bool] = True
    #: whether it needs `Subject.looped`; False: any model will do
    looks_inside: ClassVar[bool] = False
    #: of one that looks inside, whether hooks between loops are enough
    between_loops: ClassVar[bool] = False
    #: what a task needs to have, for the message where it has not
    needs: ClassVar[str] = ""

    kind: str

    @classmethod
    @abstractmethod
    def applies(cls, task: Task) -> bool:
        """Whether the probe makes sense for a task; used when a run names no probes."""

    def misfits(self, task: Task) -> Iterator[tuple[str, str]]:
        """Yields (field, what does not fit and what would) for a task that the probe applies to."""
        yield from ()

    def check(self, task: Task) -> None:
        """Checks, before anything is trained, that these settings fit a task.

        Raises:
            ValueError: what does not fit, and what would; a `Misfit` says of which fields.
        """
        if not self.applies(task):
            needed = f"; it needs {self.needs}" if self.needs else ""
            raise ValueError(f"probe {self.kind} does not apply to task {task.kind}{needed}")
        if found := list(self.misfits(task)):
            raise Misfit(found)

    @property
    def fewest_loops(self) -> tuple[str, int] | None:
        """(field, loops) that are run whatever the model has, None where the model decides."""
        loops = getattr(self, "loops", None)
        return ("loops", loops) if isinstance(loops, int) else None

    def check_model(self, model: "ModelConfig", task: Task, objective: "Objective") -> None:
        """Checks, before anything is trained, that a model shows what these settings look at.

        Raises:
            ValueError: it does not, and which setting asks for it.
        """
        from models.config import LoopedConfig

        shown = isinstance(model, LoopedConfig) or (self.between_loops and model.hooks)
        if self.looks_inside and not shown:
            more = "; `hooks` of models.contract are enough" if self.between_loops else ""
            raise ValueError(
                f"probe {self.kind} looks inside the model; it cannot measure {model.kind}, which "
                f"shows its state after every loop and nothing else{more}"
            )
        limit = getattr(model, "loop_limit", None)
        if limit and self.fewest_loops and self.fewest_loops[1] > limit:
            field, loops = self.fewest_loops
            message = (
                f"probe {self.kind} runs {loops} loops; the learned loop embedding has {limit} "
                "model.loop_rows"
            )
            raise Misfit([(field, message)])

    @abstractmethod
    def measure(self, subject: Subject) -> tuple[Measurement, ...]:
        """All measurements, in a fixed order; reads nothing but its arguments.

        The same subject gives the same numbers: documents come from
        `generator(subject.seed, Stream.EVALUATION or Stream.PROBE, …)`.
        """
