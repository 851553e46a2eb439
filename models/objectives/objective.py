"""The contract of a training objective: from the states of all loops to one loss.

Legend: M predicted positions in the batch, n loops.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import Tensor

    from models.objectives.exit_losses import Predictions
    from models.outputs import LoopOutputs, Positions
    from models.shape import ModelShape


@dataclass
class Loss:
    """`total` (nats per predicted token) is minimised; `logged` are detached scalars."""

    total: "Tensor"
    logged: dict[str, "Tensor"] = field(default_factory=dict)

    def mean(self) -> "Loss":
        """The means of losses per position, all [M]."""
        return Loss(self.total.mean(), {name: value.mean() for name, value in self.logged.items()})


class Objective(BaseModel, ABC):
    """A frozen configuration that computes its loss. Its fields and `version` enter the run id."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    version: ClassVar[int] = 1
    #: the model gets an exit gate, which then counts among its parameters
    uses_gate: ClassVar[bool] = False
    #: everything else stays as it was in the run that training starts from
    trains_gate_alone: ClassVar[bool] = False

    #: it runs loops by itself (`LoopOutputs.loop_map`), so that passes compute every state whole
    uses_map: ClassVar[bool] = False
    #: it draws random numbers from torch's own generator
    draws_noise: ClassVar[bool] = False

    kind: str

    @abstractmethod
    def loss(
        self,
        outputs: "LoopOutputs",
        at: "Positions",
        targets: "Tensor",
        *,
        beta: float | None = None,
    ) -> Loss:
        """Mean loss over the M predicted positions.

        Args:
            at: (row, column) of the positions that predict, each int64[M].
            targets: int64[M], the tokens that follow them.
            beta: overrides the objective's own β (a training phase may set it).
        """

    @property
    def halting(self) -> float | None:
        """ε with which the model weighs its states by their halting; None: each loop by itself."""
        return None

    def losses_computed(self, loops: int) -> int:
        """Loops whose logits the objective needs (for the FLOP count)."""
        return loops

    def misfits(self, model: "ModelShape", loops: int) -> Iterator[str]:
        """What in a model that is trained with up to so many loops the objective cannot use."""
        yield from ()

    def loops_run(self, loops: int) -> int:
        """Loops that the objective runs by itself, with a backward pass (for the FLOP count)."""
        return 0


class PositionwiseObjective(Objective):
    """A mean of one loss per position, so that several runs can be trained in one pass."""

    @abstractmethod
    def per_position(self, predictions: "Predictions", beta: float | None) -> Loss:
        """The loss of every position, [M]; `beta` as in `loss`."""

    def loss(
        self,
        outputs: "LoopOutputs",
        at: "Positions",
        targets: "Tensor",
        *,
        beta: float | None = None,
    ) -> Loss:
        from models.objectives.exit_losses import Predictions

        return self.mean_loss(Predictions(outputs, at, targets), beta)

    def mean_loss(self, predictions: "Predictions", beta: float | None) -> Loss:
        """The mean over all positions."""
        return self.per_position(predictions, beta).mean()
