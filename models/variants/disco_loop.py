"""A discrete channel between loops: the token that a state stands for joins it (DiscoLoop).

Legend: B documents, T tokens, D width, V vocabulary.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from models.config import LoopedConfig
from models.fast.replica_axis import linear
from models.forward_pass import Pass
from models.layers.block import Layers
from models.looped import LoopedTransformer
from models.shape import LoopedShape


class DiscoLoop(LoopedConfig):
    """Before every loop but the first, the embedding of what the state predicts joins it.

    h ← h + α(h)·RMSNorm(Φ(h)), Φ(h) = softmax(U·h/τ)·W with the head U, the embedding W and a
    gate α(h) = sigmoid(a·h + b) (2607.00341, where U and W are tied). h is the normed state that
    the head reads. The gate's b begins at 0 and its a is drawn as any matrix.
    """

    kind: Literal["disco-loop"] = "disco-loop"  # pyrefly: ignore
    temperature: float = Field(1.0, gt=0, description="τ of the discrete channel's softmax")

    @staticmethod
    def model_type() -> type[LoopedTransformer]:
        return DiscoTransformer

    def misfits(self) -> Iterator[str]:
        if self.reuse == "sequence":
            yield "kind disco-loop lies between loops; with reuse sequence there is one"

    def extra_parameters(self) -> dict[str, int]:
        return {"channel": 2 * self.width + 1}

    def kept_values(self, vocabulary_size: int, context: int, loops: int) -> int:
        channel = vocabulary_size + 3 * self.width  # probabilities, the token, its norm and gate
        found = super().kept_values(vocabulary_size, context, loops)
        return found + context * max(loops - 1, 0) * channel

    def extra_flops(self, vocabulary_size: int, context: int, loops: int) -> int:
        products = 4 * vocabulary_size * self.width + 2 * self.width
        return context * max(loops - 1, 0) * products


class Channel(nn.Module):
    """Gate and norm of the discrete channel."""

    def __init__(self, norm: nn.Module, width: int) -> None:
        super().__init__()
        self.norm, self.alpha = norm, nn.Linear(width, 1)

    def start_weights(self) -> None:
        nn.init.zeros_(self.alpha.bias)

    def forward(self, state: Tensor, token: Tensor) -> Tensor:
        """What joins the state, [B, T, D], from it and the expected embedding."""
        return self.alpha(state).sigmoid() * self.norm(token)


class DiscoPass(Pass):
    """A pass whose states, from the second loop on, are joined by their own predictions."""

    model: "DiscoTransformer"  # pyrefly: ignore

    def enter(self, number: int, x: Tensor) -> Tensor:
        if number > 1:
            model = self.model
            state = x if model.config.norm_between_loops else model.final_norm(x)
            probability = (model.head(state) / model.config.temperature).softmax(-1)
            token = linear(probability, model.embedding.weight.mT)
            x = x + model.channel(state, token)
        return super().enter(number, x)


class DiscoTransformer(LoopedTransformer):
    """A looped transformer with a discrete channel between its loops."""

    config: DiscoLoop  # pyrefly: ignore
    pass_type: ClassVar[type[Pass]] = DiscoPass

    def extend(self, shape: LoopedShape, layers: Layers) -> None:
        self.channel = Channel(layers.norm(shape.width, eps=shape.norm_eps), shape.width)
