"""Objectives that ask a model what a loop would make of a state: the last loss and a penalty.

Legend: B documents, T tokens, M predicted positions.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from models.objectives.objective import Loss, Objective
from models.shape import LoopedShape, ModelShape

if TYPE_CHECKING:
    from torch import Tensor

    from models.outputs import LoopMap, LoopOutputs, Positions


def relative_squares(x: "Tensor", y: "Tensor") -> "Tensor":
    """‖x - y‖² / ‖y‖² [...] of states [..., D], the denominator held fixed."""
    return (x - y).square().sum(-1) / y.detach().square().sum(-1)


class MapObjective(Objective):
    """CE_n + w·penalty. The penalty is computed in full precision, whatever the pass is."""

    uses_map: ClassVar[bool] = True
    #: loops that it runs beyond those of the pass
    beyond: ClassVar[int] = 0

    weight: float

    @abstractmethod
    def penalty(self, loop_map: "LoopMap", loops: int) -> "Tensor":
        """A scalar; `loops` are those of the pass."""

    def loss(
        self,
        outputs: "LoopOutputs",
        at: "Positions",
        targets: "Tensor",
        *,
        beta: float | None = None,
    ) -> Loss:
        """As `Objective.loss`; β is not used.

        Raises:
            ValueError: the pass shows no `loop_map`.
        """
        import torch

        from models.objectives.exit_losses import Predictions

        loop_map = outputs.loop_map
        if loop_map is None:
            raise ValueError(
                f"objective {self.kind} runs loops by itself, and this pass shows no loop: it was "
                "asked for some positions alone, or its model comes from elsewhere"
            )
        last = Predictions(outputs, at, targets).last_loss("mean")
        with torch.autocast(loop_map.last.device.type, enabled=False):
            penalty = self.penalty(loop_map, outputs.n_loops)
        name = f"{self.kind}_penalty"
        return Loss(last + self.weight * penalty, {"last": last.detach(), name: penalty.detach()})

    def misfits(self, model: ModelShape, loops: int) -> Iterator[str]:
        told, most = f"objective {self.kind} runs loops by itself", loops + self.beyond
        if not isinstance(model, LoopedShape):
            yield f"{told}, which model {model.kind} does not show"
        elif why := model.refuses.get("loop_map"):
            yield f"{told}; with model kind {model.kind} {why}"
        elif model.reuse == "sequence":
            yield f"{told}; with model.reuse sequence there is none"
        elif model.loop_limit is not None and most > model.loop_limit:
            yield (
                f"{told}, {most} of them, but model.{model.looped_by} has {model.loop_limit} "
                "model.loop_rows"
            )

    def losses_computed(self, loops: int) -> int:
        return 1
