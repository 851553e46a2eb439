"""Recurrent models from elsewhere, read by the same probes and objectives.

Legend: B documents, T tokens, D width, V vocabulary, n loops, M selected positions.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from torch import Tensor, nn

from models.hooks import Intervention, listener
from models.interface import LoopedModel
from models.outputs import LoopOutputs, Positions
from models.shape import ModelShape

#: matrices that lie below each other in a weight of torch's recurrent modules
GATES = {"GRU": 3, "LSTM": 4}
CALL = "forward(tokens, n_loops) and gives a list of one tensor [B, T, …] for each of the n_loops"


class Recurrent(Protocol):
    """Any module that maps tokens int[B, T] and a number of loops to one tensor per loop.

    The tensors are states [B, T, D], or logits [B, T, V].
    """

    def __call__(self, tokens: Tensor, n_loops: int) -> Sequence[Tensor]: ...


class ForeignModel(LoopedModel):
    """A recurrent module behind the interface of every model.

    Args:
        module: see `Recurrent`; causal, and indifferent to padding on the right. Where the config
            has `hooks`, its forward takes `hook` besides: a function of a loop and the state [B, T,
            D] that it leaves behind, which gives the state to go on with.
        config: from which it was built; its loops are run by default.
        head: reads states [..., D] as logits [..., V]; None: the module gives logits itself.
        gate: reads states as gate logits [..., 1]; None: no early exits.
    """

    def __init__(
        self,
        module: nn.Module,
        config: ModelShape,
        *,
        head: nn.Module | None = None,
        gate: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(config, ModelShape):
            raise TypeError(
                "config is what builds the model, `self` in its build, which has its width, core "
                f"and loops; got a {type(config).__name__}"
            )
        if gate is not None and head is None:
            raise ValueError("a gate reads states, but without a head the module gives logits")
        try:
            inspect.signature(module.forward).bind(None, 1)
        except TypeError as error:
            raise TypeError(
                f"{type(module).__name__}.forward is called as {CALL}: {error}"
            ) from error
        self.module, self.head, self.gate = module, head, gate
        self.config = config

    def forward(
        self,
        tokens: Tensor,
        n_loops: int | None = None,
        *,
        read: Positions | None = None,
        capture: Collection[str] = (),
        interventions: Sequence[Intervention] = (),
    ) -> LoopOutputs:
        """As `LoopedModel.forward`; there are no masks.

        Args:
            capture, interventions: as of `LoopedTransformer.forward`, at the config's `loop_hooks`.

        Raises:
            ValueError: n_loops < 1, the module gave another number of tensors, or there is no
                such hook.
        """
        loops = self.config.loops if n_loops is None else n_loops
        if loops < 1:
            raise ValueError(f"n_loops must be 1 or more, got {loops}")
        captured: dict[str, Tensor] = {}
        hooks: dict[str, Callable[[int, Tensor], Tensor]] = {}
        if names := {*capture, *(name for name, _ in interventions)}:
            known = self.config.loop_hooks(loops)
            if unknown := sorted(names - {*known.values()}):
                has = ", ".join(known.values()) or "none"
                raise ValueError(f"no hook {', '.join(unknown)}; this model has {has}")
            listen = listener(capture, interventions, captured)
            hooks["hook"] = lambda loop, x: listen(known[loop], x)
        states = self._states(self.module(tokens, loops, **hooks), tokens, loops)
        if read is not None:
            states = [state[read] for state in states]

        def logits(state: Tensor, loop: int, at: Positions | None = None) -> Tensor:
            if self.halting is not None:
                state = self.halted(states[:loop])
            state = state if at is None else state[at]
            return state if self.head is None else self.head(state)

        return LoopOutputs(states, logits, self.read_exit, captured, read=read)

    @staticmethod
    def _states(given: object, tokens: Tensor, loops: int) -> list[Tensor]:
        """What the module gave, checked to be a float tensor for every loop."""
        if isinstance(given, Tensor) and given.dim() < 4:
            raise ValueError(
                f"the module gave one tensor of shape {list(given.shape)}; it is called as {CALL}"
            )
        states = list(given) if isinstance(given, Iterable) else [given]
        for state in states:
            if not (isinstance(state, Tensor) and state.is_floating_point()):
                kind = state.dtype if isinstance(state, Tensor) else type(state).__name__
                raise TypeError(
                    f"the module gave {kind} for a loop and not float numbers; it is called as "
                    f"{CALL}"
                )
        if len(states) != loops:
            raise ValueError(
                f"the module gave {len(states)} tensors when called with n_loops {loops}; it runs "
                "as many loops as it is called with, whatever `loops` its config has"
            )
        if states[0].shape[:2] != tokens.shape:
            raise ValueError(
                f"the module gave tensors of shape {list(states[0].shape)} for tokens of shape "
                f"{list(tokens.shape)}; it is called as {CALL}"
            )
        return states

    def hidden_matrices(self) -> dict[Tensor, int]:
        """Weights of the linear maps in the module, q, k, v of torch's attention and gates apart.

        Left out are weights that an embedding shares, maps to a single number and, where the
        module gives logits itself, maps to as many numbers as an embedding has rows. A module with
        weights of another kind (a parameter in a matrix product) needs a subclass that names them.
        """
        tables = [m for m in self.module.modules() if isinstance(m, nn.Embedding)]
        words = {t.num_embeddings for t in tables} if self.head is None else set()
        found: dict[Tensor, int] = {}
        for part in self.module.modules():
            if isinstance(part, nn.MultiheadAttention) and part.in_proj_weight is not None:
                found[part.in_proj_weight] = 3
            elif isinstance(part, nn.RNNBase):
                named = part.named_parameters(recurse=False)
                weights = (w for name, w in named if name.startswith("weight"))
                found |= dict.fromkeys(weights, GATES.get(part.mode, 1))
            elif isinstance(part, nn.Linear) and part.out_features not in words:
                found[part.weight] = 1
        shared = {id(table.weight) for table in tables}
        return {w: n for w, n in found.items() if id(w) not in shared and min(w.shape) > 1}

    def count_parameters(self) -> dict[str, int]:
        """Parameters by part; shared ones count once, in `total` too."""
        seen: set[int] = set()
        parts = {}
        for name in ("module", "head", "gate"):
            part = getattr(self, name)
            own = [] if part is None else [p for p in part.parameters() if id(p) not in seen]
            seen |= {id(p) for p in own}
            parts[name] = sum(p.numel() for p in own)
        return {**parts, "total": sum(parts.values())}
