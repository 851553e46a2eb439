"""A penalty on the Jacobian of a loop, so that loops contract (STARS, 2605.26733).

Legend: B documents, T tokens.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from models.objectives.map_objective import MapObjective

if TYPE_CHECKING:
    from torch import Tensor

    from models.outputs import LoopMap

#: length of the differences by which the Jacobian is applied, as a share of the state's
STEP = 0.001


class Jacobian(MapObjective):
    """CE_n + w·mean over documents of ‖J·v‖², J the Jacobian of one more loop at x_n, held fixed.

    v is a random direction of length 1 over all tokens of a document, led towards the largest
    eigenvalues by power iteration, v ← J·v / ‖J·v‖, before the last time. With one iteration
    the mean of ‖J·v‖² is ‖J‖² (Frobenius) by the size of the state. STARS takes vᵀ·J by a second
    derivative; here J·v is a central difference, which layers with written-out gradients have
    too, and is the same in the mean.
    """

    beyond: ClassVar[int] = 1
    draws_noise: ClassVar[bool] = True

    kind: Literal["jacobian"] = "jacobian"
    weight: float = Field(0.1, ge=0, description="of the squared norm")
    iterations: int = Field(1, ge=1, description="times that the Jacobian is applied")

    def penalty(self, loop_map: "LoopMap", loops: int) -> "Tensor":
        import torch

        from models.objectives.exit_losses import at_least_fp32

        x = at_least_fp32(loop_map.last.detach())
        counted = loop_map.counted.view(*x.shape[:2], *[1] * (x.dim() - 2))
        v = torch.randn_like(x)
        step = STEP * _length(x * counted)
        squares = x.new_zeros(len(x))
        for _ in range(self.iterations):
            v = v * counted
            v = v / _length(v)
            ahead, behind = (loop_map.step(loops + 1, x + side * step * v) for side in (1, -1))
            v = (ahead - behind) * counted / (2 * step)
            squares = v.square().flatten(1).sum(1)
        return squares.mean()

    def loops_run(self, loops: int) -> int:
        return 2 * self.iterations


def _length(x: "Tensor") -> "Tensor":
    """Euclidean length of every document, [B, 1, 1]."""
    return x.flatten(1).norm(dim=1).view(-1, *[1] * (x.dim() - 1))
