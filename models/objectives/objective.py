"""The contract of a training objective: from the states of all loops to one loss.

Legend: M predicted positions in the batch, n loops.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import Tensor

    from models.outputs import LoopOutputs, Positions


@dataclass
class Loss:
    """`total` (nats per predicted token) is minimised; `logged` are detached scalars."""

    total: "Tensor"
    logged: dict[str, "Tensor"] = field(default_factory=dict)

    def mean(self) -> "Loss":
        """Of losses per position, all [M]."""
        return Loss(self.total.mean(), {name: value.mean() for name, value in self.logged.items()})


class Objective(BaseModel, ABC):
    """A frozen configuration that computes its loss. Its fields and `version` enter the run id."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: ClassVar[int] = 1
    #: the model gets an exit gate, which then counts among its parameters
    uses_gate: ClassVar[bool] = False
    #: everything else stays as it was in the run that training starts from
    trains_gate_alone: ClassVar[bool] = False

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


class PositionwiseObjective(Objective):
    """A mean of what each position loses by itself, so that runs can be trained in one pass."""

    @abstractmethod
    def each(
        self,
        outputs: "LoopOutputs",
        at: "Positions",
        targets: "Tensor",
        *,
        beta: float | None = None,
    ) -> Loss:
        """As `loss`, with the losses of every position, [M], in place of their means."""

    def loss(
        self,
        outputs: "LoopOutputs",
        at: "Positions",
        targets: "Tensor",
        *,
        beta: float | None = None,
    ) -> Loss:
        return self.each(outputs, at, targets, beta=beta).mean()
