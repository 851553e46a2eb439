"""A penalty on what one more loop would still change (terminal fixed-point loss, EqR)."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from models.objectives.map_objective import MapObjective, relative_squares

if TYPE_CHECKING:
    from torch import Tensor

    from models.outputs import LoopMap


class FixedPoint(MapObjective):
    """CE_n + w·‖f(x_n) - x_n‖² / ‖x_n‖², mean over tokens, f being one more loop (2605.21488).

    x_n is what loop n leaves behind. The denominator is held fixed, so that a long state is no
    way out.
    """

    beyond: ClassVar[int] = 1

    kind: Literal["fixed_point"] = "fixed_point"
    weight: float = Field(0.1, ge=0, description="of what one more loop changes")

    def penalty(self, loop_map: "LoopMap", loops: int) -> "Tensor":
        after = loop_map.step(loops + 1, loop_map.last)
        return relative_squares(after, loop_map.last)[loop_map.counted].mean()

    def loops_run(self, loops: int) -> int:
        return 1
