"""Configuration of a looped transformer: its shape, and how it is built; no torch before that."""

from typing import TYPE_CHECKING, Any, Literal

from models import counts
from models.model import BACKWARD, ModelConfig
from models.shape import LoopedShape

if TYPE_CHECKING:
    from models.looped import LoopedTransformer


class LoopedConfig(LoopedShape, ModelConfig):
    """A looped transformer: prelude, core ⊗ loops, coda.

    The defaults follow Ouro (2510.25741 §3, checked against its published inference code):
    sandwich norm with four RMSNorms per layer, SwiGLU, RoPE, untied embeddings, and the final
    norm inside the loop, so that the normed state feeds the next loop. In place of `width`,
    `heads` and `core`, `size: 100k` takes a shape from `models.sizes`.
    """

    kind: Literal["looped"] = "looped"

    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> "LoopedTransformer":
        """The torch module with weights drawn from `seed` (stream INIT)."""
        return self.model_type()(self, vocabulary_size, gate=gate, seed=seed)

    @staticmethod
    def model_type() -> type["LoopedTransformer"]:
        """The class of the torch module; a variant has its own."""
        from models.looped import LoopedTransformer

        return LoopedTransformer

    def count_parameters(
        self, vocabulary_size: int, *, gate: bool, active: bool = False
    ) -> dict[str, int]:
        return counts.count_parameters(self, vocabulary_size, gate=gate, active=active)

    def hidden_matrices(self, vocabulary_size: int, *, gate: bool) -> dict[tuple[int, int], int]:
        return counts.hidden_matrices(self)

    @property
    def carried(self) -> int:
        """Values of a token's state between loops."""
        return self.width

    def kept_values(self, vocabulary_size: int, context: int, loops: int) -> int:
        """Values of a document that loops keep for the backward pass, beside those of blocks.

        They are the states between loops, what joins these, and those of a variant's own parts.
        """
        joining = counts.JOINING_VALUES.get(self.injection, 0) * self.width
        return context * loops * (self.carried + joining)

    def forward_flops(self, vocabulary_size: int, **batch: Any) -> int:
        return counts.forward_flops(self, vocabulary_size, **batch)

    def executed_flops(
        self, vocabulary_size: int, *, queries: int, recompute: bool = False, **sizes: Any
    ) -> int:
        nominal = self.training_flops(vocabulary_size, **sizes)
        documents, context, loops = (sizes[name] for name in ("documents", "context", "n_loops"))
        frozen = sizes.get("frozen", False)
        skipped = self.skipped_flops(vocabulary_size, context, queries, sizes["losses"])
        skipped *= 1 if frozen else 1 + BACKWARD
        again = 0
        if recompute and not frozen and self.states(loops) > 1:  # all that are differentiated
            loops = min(sizes.get("backprop_loops") or loops, loops)
            again = self._loop_flops(vocabulary_size, context, loops - 1)
        return nominal + documents * (again - skipped)

    def skipped_flops(self, vocabulary_size: int, context: int, queries: int, losses: int) -> int:
        """Forward FLOPs of a document that training leaves out, see `counts.skipped_flops`."""
        return counts.skipped_flops(self, context, queries, losses)

    def _gate_flops(self, vocabulary_size: int, context: int, n_loops: int) -> int:
        return 2 * self.width * n_loops

    def _loop_flops(self, vocabulary_size: int, context: int, loops: int) -> int:
        extra = self.extra_flops(vocabulary_size, context, loops)
        extra -= self.extra_flops(vocabulary_size, context, 0)
        return context * counts.loop_flops(self, context, loops) + extra
