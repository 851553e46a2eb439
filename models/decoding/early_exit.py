"""Early exits at inference: after which loop a token is read, and what later tokens see of it.

A token that leaves after loop e is not computed further. In the deeper loops later tokens see
the keys and values that each layer gave it in loop e. `read_with_exits` applies that rule to
whole documents at once, without any cache; decoding (models.decoding.generation) saves the work.

Legend: B documents, T tokens, D width, V vocabulary, n loops.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.decoding.exit_rules import ExitRule, Seen
from models.shape import BlockCall

if TYPE_CHECKING:
    from torch import Tensor

    from models.looped import LoopedTransformer


class Watch:
    """Asks a rule after every loop, and remembers the loops before as far as it needs them."""

    def __init__(self, rule: ExitRule, model: "LoopedTransformer", loops: int) -> None:
        rule.check(loops, gate=model.read_exit is not None)
        if rule.uses_gate and model.halting is not None:
            raise ValueError(
                f"exit rule {rule.kind} reads the gate as a distribution over exits, but objective "
                "act trains it to add up to a halt; use a rule that reads states or predictions, "
                "such as static, difference or entropy"
            )
        self.rule, self.loops = rule, loops
        self._read_exit = model.read_exit if rule.uses_gate else None
        #: states of earlier loops, the latest first, as many as the rule looks back
        self._earlier: list[Tensor] = []
        self._logits: Tensor | None = None
        self._exit_logits: Tensor | None = None

    def leaves(self, loop: int, state: "Tensor", logits: "Tensor | None") -> "Tensor":
        """bool[…], from the states [..., D] after a loop, and their logits if the rule reads them.

        After the last loop everything leaves.
        """
        import torch

        if self._read_exit is not None:
            new = self._read_exit(state)[None]
            before = self._exit_logits
            self._exit_logits = new if before is None else torch.cat((before, new))
        if loop == self.loops:
            return torch.ones_like(state[..., 0], dtype=torch.bool)
        previous = self._earlier[0] if self._earlier else None
        before = tuple(self._earlier[1:])
        seen = Seen(state, previous, self._exit_logits, logits, before, self._logits)
        self._earlier = [state, *self._earlier][: self.rule.looks_back]
        self._logits = logits if self.rule.compares_logits else None
        if loop not in self.rule.exits(self.loops):
            return torch.zeros_like(state[..., 0], dtype=torch.bool)
        return self.rule.leaves(seen)

    def keep_rows(self, rows: "Tensor") -> None:
        """Goes on with some of the tokens, int64[m] into their first axis."""
        self._earlier = [state[rows] for state in self._earlier]
        if self._logits is not None:
            self._logits = self._logits[rows]
        if self._exit_logits is not None:
            self._exit_logits = self._exit_logits[:, rows]


class LeftBehind:
    """Keys and values of whole documents: tokens that left keep those of their last loop."""

    def __init__(self, left: "Tensor") -> None:
        self.left = left  # bool[B, T], which the caller keeps up to date
        self._latest: dict[BlockCall, Tensor] = {}  # by the call without its loop

    def attend(self, call: BlockCall, k: "Tensor", v: "Tensor") -> tuple["Tensor", "Tensor"]:
        import torch

        own = torch.stack((k, v))
        layer = call._replace(loop=0)
        if (before := self._latest.get(layer)) is not None:
            own = torch.where(self.left[:, None, :, None], before, own)
        self._latest[layer] = own
        return own[0], own[1]


@dataclass(frozen=True)
class ExitOutputs:
    """Attributes:
    exit_loop: int64[B, T], the loop after which each token was read.
    logits: [B, T, V] after that loop.
    """

    exit_loop: "Tensor"
    logits: "Tensor"


def read_with_exits(
    model: "LoopedTransformer",
    tokens: "Tensor",
    rule: ExitRule,
    may_exit: "Tensor",
    *,
    loops: int | None = None,
    positions: "Tensor | None" = None,
    attention_mask: "Tensor | None" = None,
) -> ExitOutputs:
    """Whole documents at once, under the rule of early exits; computes every loop of every token.

    Args:
        tokens: int[B, T].
        may_exit: bool[B, T]: where the rule is asked. The other tokens run all loops.
        loops, positions, attention_mask: as in `LoopedTransformer.forward`.

    Raises:
        ValueError: the rule does not fit the model.
    """
    import torch

    from models.positions import causal_mask

    loops = model.config.loops if loops is None else loops
    if positions is None:
        positions = torch.arange(tokens.shape[1], device=tokens.device)
    mask = None if attention_mask is None else causal_mask(attention_mask)
    left = torch.zeros_like(may_exit)
    seen = LeftBehind(left)
    run = model.begin(tokens, loops, positions, mask, key_values=seen)
    last = model.config.states(loops)
    watch = Watch(rule, model, last)
    exit_loop = torch.full_like(tokens, last, dtype=torch.int64)
    found: Tensor | None = None
    for loop in range(1, last + 1):
        state, logits = run.loop(loop), None
        if loop == last or loop in rule.reads(last):
            logits = run.logits(state, loop)
            found = logits if found is None else torch.where(left[..., None], found, logits)
        leaving = watch.leaves(loop, state, logits) & may_exit & ~left
        exit_loop[leaving] = loop
        left |= leaving  # which `seen` looks at
    assert found is not None
    return ExitOutputs(exit_loop, found)
