"""What a forward pass returns: the state of every loop; logits and exits on demand.

Legend: B documents, T tokens, D width, V vocabulary, n loops, M selected positions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

#: index of the selected positions: (row int64[M], column int64[M])
Positions = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class LoopMap:
    """The map that a loop is: from what it begins with to what the next begins with, [B, T, …].

    Attributes:
        step: (number of the loop, what it begins with) -> what it leaves behind.
        first: what the first loop began with.
        last: what the last one left behind.
        state: the normed state [B, T, D] of what a loop left behind.
        counted: bool[B, T], where there are tokens.
    """

    step: Callable[[int, Tensor], Tensor]
    first: Tensor
    last: Tensor
    state: Callable[[Tensor], Tensor]
    counted: Tensor


@dataclass
class LoopOutputs:
    """States after every loop, 1-based like the papers: `state(1)` is the first loop's.

    Attributes:
        states: n tensors [B, T, D], each after the final norm; [M, D] where there is a `read`.
        read: the only positions that this pass has states of; None: all tokens.
        captured: hook name -> tensor, for the names asked for in `capture`.
        read_imbalance: load-balancing loss of the block calls so far, None without experts.
        loop_map: runs further loops; None where this pass did not compute the last one whole, or
            the model does not show it.
    """

    states: list[Tensor]
    read_logits: Callable[[Tensor, int, Positions | None], Tensor]
    read_exit: Callable[[Tensor], Tensor] | None = None
    captured: dict[str, Tensor] = field(default_factory=dict)
    read_imbalance: Callable[[], Tensor | None] = lambda: None
    read: Positions | None = None
    loop_map: LoopMap | None = None

    @property
    def n_loops(self) -> int:
        return len(self.states)

    def state(self, loop: int) -> Tensor:
        """Normed state [B, T, D] after loop `loop` (1 … n), or [M, D] where there is a `read`."""
        if not 1 <= loop <= self.n_loops:
            raise ValueError(f"loop {loop} does not exist, this pass ran loops 1 to {self.n_loops}")
        return self.states[loop - 1]

    def logits(self, loop: int | None = None, at: Positions | None = None) -> Tensor:
        """Logits of a loop (default: the last), [B, T, V], or [M, V] at selected positions."""
        loop = self.n_loops if loop is None else loop
        return self.read_logits(self.state(loop), loop, self._among(at))

    def exit_logits(self, at: Positions | None = None) -> Tensor:
        """Gate logits of every loop, [n, B, T] or [n, M]; λ_t is their sigmoid.

        Raises:
            ValueError: the model has no gate.
        """
        return self.read_exits(self.states, at)

    def read_exits(self, states: list[Tensor], at: Positions | None = None) -> Tensor:
        """`exit_logits` of other states [B, T, D] than this pass's own."""
        if self.read_exit is None:
            raise ValueError("this model has no exit gate; its objective does not use one")
        at = self._among(at)
        states = states if at is None else [s[at] for s in states]
        return torch.stack([self.read_exit(s) for s in states])

    def _among(self, at: Positions | None) -> Positions | None:
        """What is left to select from the states.

        Raises:
            ValueError: other positions than those that this pass was to be read at.
        """
        if self.read is None:
            return at
        if at is not None and at is not self.read:
            raise ValueError("this pass has states at the positions of its `read` alone")
        return None
