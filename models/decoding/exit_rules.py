"""Rules of early exits: after which loop a token is read.

Legend: D width, V vocabulary, … tokens of any shape.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Seen:
    """What a rule may look at after a loop, for tokens of any shape […].

    Attributes:
        state, previous: […, D] after this loop and the one before; no previous in loop 1.
        exit_logits: [loop, …] gate logits of the loops so far, for rules that use the gate.
        logits: […, V] after this loop, for rules that read them.
        before: states of the loops before the previous one, the latest first.
        previous_logits: […, V] after the loop before, for rules that compare them.
    """

    state: "Tensor"
    previous: "Tensor | None" = None
    exit_logits: "Tensor | None" = None
    logits: "Tensor | None" = None
    before: tuple["Tensor", ...] = ()
    previous_logits: "Tensor | None" = None


class ExitRule(BaseModel, ABC):
    """When to stop looping. After the last loop every token leaves, whatever the rule."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    uses_gate: ClassVar[bool] = False
    reads_logits: ClassVar[bool] = False
    #: it reads the logits of the loop before too
    compares_logits: ClassVar[bool] = False
    #: loops before this one whose states it looks at
    looks_back: ClassVar[int] = 0

    kind: str

    def exits(self, loops: int) -> range:
        """The loops after which a token may leave."""
        return range(1, loops + 1)

    def reads(self, loops: int) -> range:
        """The loops whose logits may be read."""
        exits = self.exits(loops)
        return range(max(exits.start - self.compares_logits, 1), exits.stop)

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

    looks_back: ClassVar[int] = 1

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


class FixedPoint(ExitRule):
    """Leaves once a loop moves the state by a share below ε: ‖h_t - h_{t-1}‖ < ε·‖h_t‖ (FPRM).

    2606.18206 halts all tokens of a document together; here each leaves by itself.
    """

    looks_back: ClassVar[int] = 1

    kind: Literal["fixed-point"] = "fixed-point"
    share: float = Field(
        ge=0, description="a token leaves once a loop moves its state by less than this share"
    )

    def exits(self, loops: int) -> range:
        return range(min(2, loops), loops + 1)

    def leaves(self, seen: Seen) -> "Tensor":
        assert seen.previous is not None
        moved = (seen.state - seen.previous).norm(dim=-1)
        return moved < self.share * seen.state.norm(dim=-1)


class Acceleration(ExitRule):
    """Leaves once ‖Δ_t - Δ_{t-1}‖ < ε in two loops in a row, Δ_t = h_t - h_{t-1} (2509.23314).

    Two of them need four states, so that loop 4 is the first to leave after; with one hit it is
    loop 3.
    """

    looks_back: ClassVar[int] = 3

    kind: Literal["acceleration"] = "acceleration"
    epsilon: float = Field(
        ge=0, description="a token leaves once the steps of its state differ by less than this"
    )
    hits: Literal[1, 2] = Field(2, description="loops in a row in which they have to")

    def exits(self, loops: int) -> range:
        return range(min(2 + self.hits, loops), loops + 1)

    def leaves(self, seen: Seen) -> "Tensor":
        assert seen.previous is not None
        states = (seen.state, seen.previous, *seen.before)
        steps = [a - b for a, b in zip(states, states[1:], strict=False)][: self.hits + 1]
        small = [
            (a - b).norm(dim=-1) < self.epsilon for a, b in zip(steps, steps[1:], strict=False)
        ]
        return small[0] if self.hits == 1 else small[0] & small[1]


class PredictionChange(ExitRule):
    """Leaves once a loop changes the prediction by less than a number of nats.

    KL(p_t ‖ p_{t-1}) of the predicted token, as Huginn does (2502.05171 §5; there below 5e-4).
    """

    reads_logits: ClassVar[bool] = True
    compares_logits: ClassVar[bool] = True

    kind: Literal["kl"] = "kl"
    nats: float = Field(
        ge=0, description="a token leaves once its prediction moves by a divergence below this"
    )

    def exits(self, loops: int) -> range:
        return range(min(2, loops), loops + 1)

    def leaves(self, seen: Seen) -> "Tensor":
        assert seen.logits is not None and seen.previous_logits is not None
        log_p, log_q = (x.float().log_softmax(-1) for x in (seen.logits, seen.previous_logits))
        return (log_p.exp() * (log_p - log_q)).sum(-1) < self.nats


AnyExitRule = Annotated[
    AllLoops
    | StaticExit
    | QuantileExit
    | StateDifference
    | FixedPoint
    | Acceleration
    | PredictionEntropy
    | PredictionChange,
    Field(discriminator="kind"),
]
