"""The contract of a model's configuration: its shape, what it costs, and how to build it.

Nothing here needs torch before something is built or measured.
"""

import inspect
from abc import ABC, abstractmethod
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from models.shape import ModelShape

if TYPE_CHECKING:
    from models.interface import LoopedModel

#: how it is called, in messages
BUILD = "is called as build(vocabulary_size, *, gate, seed)"
#: a backward pass costs about two forward passes
BACKWARD = 2


class ModelConfig(ModelShape, ABC):
    """A frozen configuration that builds its model. Its fields and `version` enter the run id.

    A subclass declares `kind: Literal["its-name"] = "its-name"` and writes `build`; it may lie in
    any file, which a grid names as `kind: path/to/file.py:ClassName`. A module that is none of
    ours is built into a `models.adapter.ForeignModel`; `models.contract` says what is asked of it,
    and `loopscope check` whether it holds. Counts are by default those of what was
    built; a formula is faster.
    """

    version: ClassVar[int] = 1

    @abstractmethod
    def build(self, vocabulary_size: int, *, gate: bool, seed: int) -> "LoopedModel":
        """The torch module, always the same for a seed.

        Args:
            vocabulary_size: includes `<pad>` (id 0).
            gate: the objective needs an exit gate.
        """

    def count_parameters(
        self, vocabulary_size: int, *, gate: bool, active: bool = False
    ) -> dict[str, int]:
        """Parameters by part; `total` is their sum.

        Args:
            active: only what one token uses in one application of a layer.
        """
        return dict(_counted(self, vocabulary_size, gate))

    def hidden_matrices(self, vocabulary_size: int, *, gate: bool) -> dict[tuple[int, int], int]:
        """(rows, columns) -> how many matrices inside the layers have them, as Muon moves them."""
        return dict(_hidden(self, vocabulary_size, gate))

    def kept_bytes(
        self, vocabulary_size: int, *, context: int, n_loops: int, gate: bool = False
    ) -> int:
        """Bytes that a forward pass keeps of one document for the backward pass, head left out.

        Measured on what was built, by what autograd saves for two documents and for one.
        """
        return _kept(self, vocabulary_size, gate, context, n_loops)

    def forward_flops(
        self,
        vocabulary_size: int,
        *,
        documents: int,
        context: int,
        predicted: int,
        n_loops: int | None = None,
        losses: int = 1,
        gate: bool = False,
    ) -> int:
        """Forward FLOPs of a batch, two per multiply-add of every matrix product.

        Args:
            documents, context: rows and columns of the token array that the model reads.
            predicted: positions at which the head is computed.
            losses: loops whose logits are computed.
            gate: the exit gate is computed at the predicted positions, after every loop.
        """
        flops = self._measured(vocabulary_size, gate, context, n_loops)
        return documents * flops.document + predicted * (losses * flops.head + flops.gate)

    def training_flops(
        self,
        vocabulary_size: int,
        *,
        documents: int,
        context: int,
        predicted: int,
        n_loops: int,
        losses: int,
        gate: bool,
        backprop_loops: int | None = None,
        frozen: bool = False,
        more_loops: int = 0,
    ) -> int:
        """Nominal FLOPs of a training step, forward and backward, by the architecture.

        What is computed twice counts once, and what a pass leaves out because nobody reads it
        counts all the same: models are compared by what they are. See `executed_flops`.

        Args:
            backprop_loops: only the last so many loops have a backward pass; None: all.
            frozen: only the gate has one.
            more_loops: loops that the objective runs besides, each like the last.
        """
        forward = self.forward_flops(
            vocabulary_size,
            documents=documents,
            context=context,
            predicted=predicted,
            n_loops=n_loops,
            losses=losses,
            gate=gate,
        )
        if frozen:
            gates = self._gate_flops(vocabulary_size, context, n_loops)
            return forward + BACKWARD * predicted * gates
        skipped = 0 if backprop_loops is None else max(n_loops - backprop_loops, 0)
        loop = self._loop_flops(vocabulary_size, context, n_loops)
        loop -= self._loop_flops(vocabulary_size, context, n_loops - 1)
        forward += documents * more_loops * loop
        fixed = documents * self._loop_flops(vocabulary_size, context, skipped)
        return forward + BACKWARD * (forward - fixed)

    def executed_flops(
        self, vocabulary_size: int, *, queries: int, recompute: bool = False, **sizes: Any
    ) -> int:
        """FLOPs of the matrix products that a training step computes; nominal where unknown.

        What an attention kernel computes once more in its backward pass is left out.

        Args:
            queries: positions read of the document that has the most.
            recompute: loops are computed again for the backward pass.
            sizes: arguments of `training_flops`.
        """
        return self.training_flops(vocabulary_size, **sizes)

    def _gate_flops(self, vocabulary_size: int, context: int, n_loops: int) -> int:
        """Forward FLOPs of the gate at one position, after every loop."""
        return self._measured(vocabulary_size, True, context, n_loops).gate

    def _loop_flops(self, vocabulary_size: int, context: int, loops: int) -> int:
        """Forward FLOPs of a document in the first so many loops; 0 where unknown."""
        return 0

    def _measured(
        self, vocabulary_size: int, gate: bool, context: int, n_loops: int | None
    ) -> "Flops":
        loops = self.loops if n_loops is None else n_loops
        return _measured(self, vocabulary_size, gate, context, loops)


class Flops(NamedTuple):
    """Forward FLOPs of one document without head and gate, of the head, of all loops' gates."""

    document: int
    head: int
    gate: int


def built(config: ModelConfig, vocabulary_size: int, *, gate: bool, seed: int) -> "LoopedModel":
    """What `config.build` makes, checked to be a model.

    Raises:
        TypeError: it cannot be called like that, or makes something else.
    """
    from models.interface import LoopedModel

    name = type(config).__name__
    try:
        inspect.signature(config.build).bind(vocabulary_size, gate=gate, seed=seed)
    except TypeError as error:
        raise TypeError(f"{name}.build {BUILD}: {error}") from error
    model = config.build(vocabulary_size, gate=gate, seed=seed)
    if not isinstance(model, LoopedModel):
        raise TypeError(
            f"{name}.build made a {type(model).__name__} and has to make a LoopedModel; "
            "`models.adapter.ForeignModel(module, self, head=…, gate=…)` makes one of any module "
            "whose forward(tokens, n_loops) gives a tensor a loop"
        )
    if lacks := [name for name in ("config", "gate") if not hasattr(model, name)]:
        raise TypeError(
            f"{name}.build made a {type(model).__name__} without {' and '.join(lacks)}; every "
            "LoopedModel has `config`, what built it, and `gate`, None where there are no exits"
        )
    return model


@cache
def _counted(config: ModelConfig, vocabulary_size: int, gate: bool) -> dict[str, int]:
    return built(config, vocabulary_size, gate=gate, seed=0).count_parameters()


@cache
def _hidden(config: ModelConfig, vocabulary_size: int, gate: bool) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    model = built(config, vocabulary_size, gate=gate, seed=0)
    for matrix, parts in model.hidden_matrices().items():
        size = (matrix.shape[-2] // parts, matrix.shape[-1])
        found[size] = found.get(size, 0) + parts
    return found


@cache
def _kept(config: ModelConfig, vocabulary_size: int, gate: bool, context: int, loops: int) -> int:
    import torch

    model = built(config, vocabulary_size, gate=gate, seed=0).train()
    weights = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    found: list[int] = []
    for documents in (1, 2):
        kept: dict[int, torch.Tensor] = {}

        def keep(saved: torch.Tensor, kept: dict[int, torch.Tensor] = kept) -> torch.Tensor:
            kept[saved.untyped_storage().data_ptr()] = saved
            return saved

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
            outputs = model(torch.ones(documents, context, dtype=torch.int64), loops)
        tensors = (t for place, t in kept.items() if place not in weights)
        found.append(sum(t.untyped_storage().nbytes() for t in tensors))
        del outputs
    return max(found[1] - found[0], 0)


@cache
def _measured(
    config: ModelConfig, vocabulary_size: int, gate: bool, context: int, loops: int
) -> Flops:
    """By torch's own counter, in one pass over one document.

    Raises:
        ValueError: it sees no matrix product, as in a fused kernel.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = built(config, vocabulary_size, gate=gate, seed=0)
    first = (torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    counted = []
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            outputs = model(torch.ones(1, context, dtype=torch.int64), loops)
        counted.append(counter.get_total_flops())
        for read in (outputs.logits, outputs.exit_logits if gate else None):
            with FlopCounterMode(display=False) as counter:
                if read is not None:
                    read(at=first)
            counted.append(counter.get_total_flops())
    if counted[0] == 0:
        raise ValueError(
            f"model {config.kind}: torch counts no FLOPs in its forward pass; define forward_flops"
        )
    return Flops(*counted)
