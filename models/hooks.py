"""Ways to look into a forward pass, and to change its states or what its attention sees.

Legend: B documents, T tokens, D width, H heads, S tokens that are seen.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from torch import Tensor

from models.shape import BlockCall

#: (name of a hook point, state) -> the state to go on with
Hook = Callable[[str, Tensor], Tensor]

#: (hook name, function of the state that returns the state to go on with)
Intervention = tuple[str, Callable[[Tensor], Tensor]]

#: keys and values of a block call -> those that its queries see
KeyValueHook = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class KeyValueSource(Protocol):
    """Decides what the attention of a pass sees, such as a cache of earlier tokens."""

    def attend(self, call: BlockCall, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, S, D/H] to attend to, given those of this call [B, H, T, D/H].

        The keys are rotated to their positions already.
        """


def no_hook(name: str, x: Tensor) -> Tensor:
    return x


def listener(
    capture: Collection[str], interventions: Sequence[Intervention], captured: dict[str, Tensor]
) -> Hook:
    """A hook that applies the interventions, then writes the states to capture into `captured`."""

    def listen(name: str, x: Tensor) -> Tensor:
        for wanted, change in interventions:
            if wanted == name:
                x = change(x)
        if name in capture:
            captured[name] = x
        return x

    return listen if capture or interventions else no_hook
