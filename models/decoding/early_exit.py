"""Early exits at inference: after which loop a token is read, and what later tokens see of it.

A token that leaves after loop e is not computed further. In the deeper loops later tokens see
the keys and values that each layer gave it in loop e. `read_with_exits` applies that rule to
whole documents at once, without any cache; decoding (models.decoding.generation) saves the work.

Legend: B documents, T tokens, D width, V vocabulary, n loops.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.shape import BlockCall

if TYPE_CHECKING:
    from torch import Tensor

    from models.looped import LoopedTransformer


@dataclass(frozen=True)
class Seen:
    """What a rule may look at after a loop, for tokens of any shape […].

    Attributes:
        state, previous: […, D] after this loop and the one before; no previous in loop 1.
        exit_logits: [loop, …] gate logits of the loops so far, for rules that use the gate.
        logits: […, V] after this loop, for rules that read them.
    """

    state: "Tensor"
    previous: "Tensor | None" = None
    exit_logits: "Tensor | None" = None
    logits: "Tensor | None" = None


class ExitRule(BaseModel, ABC):
    """When to stop looping. After the last loop every token leaves, whatever the rule."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    uses_gate: ClassVar[bool] = False
    reads_logits: ClassVar[bool] = False

    kind: str

    def exits(self, loops: int) -> range:
        """The loops after which a token may leave."""
        return range(1, loops + 1)

    def check(self, loops: int, *, gate: bool) -> None:
        """Whether the rule can be followed by a model.

        Raises:
            ValueError: it needs a gate, or a loop that is not run.
        """
        if self.uses_gate and not gate:
            raise ValueError(
                f"exit rule {self.kind} needs an exit gate and this model has none: its "
                "objective does not train one"
            )

    @abstractmethod
    def leaves(self, seen: Seen) -> "Tensor":
        """bool[…]: which tokens leave now. Asked after the loops of `exits` but the last."""


class AllLoops(ExitRule):
    """No early exit."""

    kind: Literal["all"] = "all"

    def exits(self, loops: int) -> range:
        return range(loops, loops + 1)

    def leaves(self, seen: Seen) -> "Tensor":
        return seen.state[..., 0].isnan()


class StaticExit(ExitRule):
    """Every token leaves after the same loop."""

    kind: Literal["static"] = "static"
    loop: int = Field(ge=1, description="the loop after which every token leaves")

    def exits(self, loops: int) -> range:
        return range(self.loop, self.loop + 1)

    def check(self, loops: int, *, gate: bool) -> None:
        super().check(loops, gate=gate)
        if self.loop > loops:
            raise ValueError(
                f"exit rule static leaves after loop {self.loop}, but loops is {loops}"
            )

    def leaves(self, seen: Seen) -> "Tensor":
        return seen.state[..., 0] == seen.state[..., 0]


class QuantileExit(ExitRule):
    """Q-exit (Ouro, 2510.25741 §3): the first loop at which the exit CDF reaches q.

    q ≥ 1 never leaves early, whatever rounding does to the CDF.
    """

    uses_gate: ClassVar[bool] = True

    kind: Literal["quantile"] = "quantile"
    q: float = Field(
        ge=0,
        description="a token leaves once its cumulative exit probability reaches it",
    )

    def leaves(self, seen: Seen) -> "Tensor":
        import torch

        from models.exits import exit_log_probabilities

        logits = seen.exit_logits
        assert logits is not None
        if self.q >= 1:
            return logits[0].isnan()
        # the last gate of the distribution is ignored, so any logit may stand for it
        log_p = exit_log_probabilities(torch.cat((logits.float(), logits[:1].float())))
        return log_p[:-1].exp().cumsum(0)[-1] >= self.q


class StateDifference(ExitRule):
    """Leaves once a loop moves the state by less than ε: ‖h_t - h_{t-1}‖₂ < ε (Ouro §5)."""

    kind: Literal["difference"] = "difference"
    epsilon: float = Field(
        ge=0, description="a token leaves once its state moves by less than this"
    )

    def exits(self, loops: int) -> range:
        return range(min(2, loops), loops + 1)

    def leaves(self, seen: Seen) -> "Tensor":
        assert seen.previous is not None
        return (seen.state - seen.previous).norm(dim=-1) < self.epsilon


class PredictionEntropy(ExitRule):
    """Leaves once the entropy of the predicted token falls below a number of nats."""

    reads_logits: ClassVar[bool] = True

    kind: Literal["entropy"] = "entropy"
    nats: float = Field(
        ge=0, description="a token leaves once its prediction has an entropy below this"
    )

    def leaves(self, seen: Seen) -> "Tensor":
        assert seen.logits is not None
        log_p = seen.logits.float().log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1) < self.nats


AnyExitRule = Annotated[
    AllLoops | StaticExit | QuantileExit | StateDifference | PredictionEntropy,
    Field(discriminator="kind"),
]


class Watch:
    """Asks a rule after every loop, and remembers the loops before as far as it needs them."""

    def __init__(self, rule: ExitRule, model: "LoopedTransformer", loops: int) -> None:
        rule.check(loops, gate=model.read_exit is not None)
        if rule.uses_gate and model.halting is not None:
            raise ValueError(
                f"exit rule {rule.kind} reads the gate as a distribution over exits, but objective "
                "act trains it to add up to a halt; use static, difference or entropy"
            )
        self.rule, self.loops = rule, loops
        self._read_exit = model.read_exit if rule.uses_gate else None
        self._previous: Tensor | None = None
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
        seen = Seen(state, self._previous, self._exit_logits, logits)
        self._previous = state
        if loop not in self.rule.exits(self.loops):
            return torch.zeros_like(state[..., 0], dtype=torch.bool)
        return self.rule.leaves(seen)

    def keep_rows(self, rows: "Tensor") -> None:
        """Goes on with some of the tokens, int64[m] into their first axis."""
        if self._previous is not None:
            self._previous = self._previous[rows]
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
        if loop == last or loop in rule.exits(last):
            logits = run.logits(state, loop)
            found = logits if found is None else torch.where(left[..., None], found, logits)
        leaving = watch.leaves(loop, state, logits) & may_exit & ~left
        exit_loop[leaving] = loop
        left |= leaving  # which `seen` looks at
    assert found is not None
    return ExitOutputs(exit_loop, found)
