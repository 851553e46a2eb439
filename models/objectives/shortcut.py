"""Shortcut consistency (LoopFormer, 2602.11451): short trajectories end where long ones do."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.objectives.map_objective import MapObjective, relative_squares

if TYPE_CHECKING:
    from torch import Tensor

    from models.outputs import LoopMap


class Shortcut(MapObjective):
    """CE_n + w·‖s - s_n‖² / ‖s_n‖², mean over tokens, s_n held fixed.

    s is the normed state after a short trajectory, which runs every `stride`-th loop and the last
    from the same start: loops 2 and 4 of 4. Where a model tells its loops apart (a loop embedding,
    `kind: film`, `lora`) it so learns to jump, as LoopFormer does by time and step size;
    elsewhere the first loops learn to end where all of them do.
    """

    kind: Literal["shortcut"] = "shortcut"
    weight: float = Field(0.1, ge=0, description="of the distance between the two ends")
    stride: int = Field(2, ge=2, description="loops that the short trajectory takes at once")

    def jumps(self, loops: int) -> tuple[int, ...]:
        """Numbers of the loops of the short trajectory."""
        return tuple(range(loops, 0, -self.stride))[::-1]

    def penalty(self, loop_map: "LoopMap", loops: int) -> "Tensor":
        x = loop_map.first
        for number in self.jumps(loops):
            x = loop_map.step(number, x)
        end = loop_map.state(loop_map.last).detach()
        return relative_squares(loop_map.state(x), end)[loop_map.counted].mean()

    def loops_run(self, loops: int) -> int:
        return len(self.jumps(loops))
