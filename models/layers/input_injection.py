"""What joins the state before every loop: the loop's input, and which loop it is.

Legend: B documents, T tokens, D width.
"""

from math import expm1, log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers.norms import RMSNorm, Vector
from models.positions import sinusoid
from models.shape import LoopedShape


class LoopEmbedding(nn.Embedding):
    """A learned vector for every loop, counted from 1."""

    def forward(self, loop: int, x: Tensor) -> Tensor:  # pyrefly: ignore [bad-override]
        """[D], which joins x."""
        return self.weight[loop - 1]


#: share of the state that a fresh diagonal injection keeps (Parcae's code)
DECAY = 0.2**0.5
#: bias of a fresh gate, which lets 12 % of the input in (2603.21676)
GATE_BIAS = -2.0
#: standard deviation of a noisy start (Huginn, 2502.05171 §3)
NOISE_STD = 0.4**0.5


class InputInjection(nn.Module):
    """x ← inject(x, e) + embedding(loop), e the normed output of embedding and prelude.

    e is normed because a fresh embedding is fifty times smaller than the normed state it is to
    join.

    * `add`: x + e, `concat`: W[x; e] (Huginn, 2502.05171 §3).
    * `once`: x + e before the first loop alone, the fair control of `add`: without an injection the
      input is not only added once but not normed either. Of one loop both are the same.
    * `diagonal`: exp(-Δ·exp(a))·x + Δ·W e with Δ = softplus(d) and vectors a, d (Parcae,
      2604.12946, as in its code): every channel decays, so that what it takes from before is
      bounded over any number of loops. At the start it keeps √(1/5), and W is the identity.
    * `gated`: (1-z)·x + z·e with z = sigmoid(W[x; e] + b), where b begins at -2.

    With an injection the state before the first loop is zero, so that `add` begins with e itself;
    without, it is e; `initial_state` says otherwise. Noise is drawn from torch's own generator and
    only while training; an evaluation begins with its mean, zero, so that it can be repeated.
    `sinusoidal` is the time signal of the Universal Transformer (1807.03819 §2.1) without its
    positions.
    """

    def __init__(self, shape: LoopedShape, norm: type[RMSNorm] = RMSNorm) -> None:
        super().__init__()
        width, rows, injection = shape.width, shape.embedded_loops, shape.injection
        self.injection, self.loop_embedding = injection, shape.loop_embedding
        self.initial_state = shape.initial_state or ("prelude" if injection == "none" else "zero")
        self.norm = norm(width, eps=shape.norm_eps)
        self.project: nn.Linear | None = None
        if injection in ("concat", "gated"):
            self.project = nn.Linear(2 * width, width, bias=injection == "gated")
        elif injection == "diagonal":
            self.project = nn.Linear(width, width, bias=False)
            step = -log(DECAY)  # Δ, since exp(a) begins at 1
            self.rate, self.step = Vector(width), Vector(width, log(expm1(step)))
        self.loops = None if rows is None else LoopEmbedding(rows, width)
        self.start = Vector(width) if self.initial_state == "learned" else None

    @torch.no_grad()
    def start_weights(self) -> None:
        """Weights that do not begin as the others of their shape do."""
        if self.injection == "diagonal":
            assert self.project is not None
            nn.init.eye_(self.project.weight)
        elif self.injection == "gated":
            assert self.project is not None
            nn.init.constant_(self.project.bias, GATE_BIAS)

    def begin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(state before the first loop, e), both [B, T, D]."""
        e = self.norm(x)
        if self.initial_state == "prelude":
            return e, e
        zero = torch.zeros_like(e)
        if self.start is not None:
            return zero + self.start(e), e
        noisy = self.initial_state == "noise" and self.training
        return (NOISE_STD * torch.randn_like(e) if noisy else zero), e

    def forward(self, x: Tensor, e: Tensor, loop: int) -> Tensor:
        """The state [B, T, D] with which loop `loop` (from 1) begins."""
        if self.injection != "none" and (loop == 1 or self.injection != "once"):
            x = self.inject(x, e)
        if self.loops is not None:
            return x + self.loops(loop, x)
        return x if self.loop_embedding == "none" else x + sinusoid(loop, x)

    def inject(self, x: Tensor, e: Tensor) -> Tensor:
        """The state after it is joined by the loop's input, both [B, T, D]."""
        if self.project is None:
            return x + e
        if self.injection == "diagonal":
            step = F.softplus(self.step(x))
            return torch.exp(-step * self.rate(x).exp()) * x + step * self.project(e)
        joined = self.project(torch.cat((x, e), dim=-1))
        return joined if self.injection == "concat" else x + joined.sigmoid() * (e - x)
