"""Parameters by part and FLOPs, analytically, without torch.

FLOPs count two per multiply-add of every matrix product: projections, attention scores over the
full T×T square (as torch's own counter does, causal or not), router, head and gate. Norms,
rotary positions and element-wise functions are left out, as is usual (2001.08361 §2.1).
"""

from models.config import LoopedConfig
from models.model import BACKWARD

#: tokens up to which attention that keeps its probabilities is no slower than torch's on a CPU, in
#: full and in half precision (experiments/LOG.md)
LONGEST, LONGEST_HALF = 64, 512


def keeps_probabilities(tokens: int, *, half: bool) -> bool:
    """Whether attention in documents of so many tokens keeps them while it trains on a CPU."""
    return tokens <= (LONGEST_HALF if half else LONGEST)


def _mlp_parameters(config: LoopedConfig, experts: int) -> int:
    """Of one layer's MLP, or of its router and `experts` experts."""
    matrices = 2 if config.mlp == "gelu" else 3
    each = matrices * config.width * config.hidden
    return config.width * config.experts + experts * each if config.mlp == "moe" else each


def count_parameters(
    config: LoopedConfig, vocabulary_size: int, *, gate: bool, active: bool = False
) -> dict[str, int]:
    """Parameters by part; `total` is their sum. The `<pad>` row never occurs and is not counted.

    Args:
        vocabulary_size: includes `<pad>` (id 0).
        active: only what one token uses in one application of a layer; less than all of them
            in a mixture of experts alone.
    """
    rows, width = vocabulary_size - 1, config.width
    experts = config.experts_per_token if active else config.experts
    norms = (4 if config.norm == "sandwich" else 2) * width
    layer = 4 * width**2 + _mlp_parameters(config, experts) + norms
    parts = {
        "embedding": rows * width,
        "head": 0 if config.tied else rows * width,
        "prelude": config.prelude * layer,
        "core": config.core * layer,
        "coda": config.coda * layer,
        "final_norm": width,
        "gate": width + 1 if gate else 0,
    }
    if config.positions == "learned":
        assert config.context is not None
        parts["positions"] = config.context * width
    if config.enters:
        parts["entrance"] = width * (1 + (config.embedded_loops or 0))
        parts["entrance"] += 2 * width**2 if config.injection == "concat" else 0
    return {**parts, "total": sum(parts.values())}


def block_flops(config: LoopedConfig, context: int) -> int:
    """Forward FLOPs of one block for one token in a document of `context` tokens."""
    mlp = _mlp_parameters(config, config.experts_per_token)
    return 2 * (4 * config.width**2 + mlp) + 4 * context * config.width


def _core_flops(config: LoopedConfig, context: int, loops: int) -> int:
    """Forward FLOPs of the core for one token, with what enters before every loop."""
    calls = len(config.schedule(loops)) - config.prelude
    entrance = 4 * config.width**2 if config.injection == "concat" else 0
    return calls * block_flops(config, context) + loops * entrance


def forward_flops(
    config: LoopedConfig,
    vocabulary_size: int,
    *,
    documents: int,
    context: int,
    predicted: int,
    n_loops: int | None = None,
    losses: int = 1,
    gate: bool = False,
) -> int:
    """Forward FLOPs of a batch.

    Args:
        documents, context: rows and columns of the token array that the model reads.
        predicted: positions at which the head is computed.
        losses: loops whose logits are computed (1 for `last_loop`, all for `entropy`).
        gate: the exit gate is computed at the predicted positions, after every loop.
    """
    loops = config.loops if n_loops is None else n_loops
    outside = (config.prelude + config.coda * losses) * block_flops(config, context)
    head = 2 * config.width * vocabulary_size * predicted * losses
    gates = 2 * config.width * predicted * loops if gate else 0
    layers = documents * context * (outside + _core_flops(config, context, loops))
    return layers + head + gates


def training_flops(
    config: LoopedConfig,
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
) -> int:
    """FLOPs of a training step, forward and backward, by the architecture.

    What is computed twice counts once, and what a pass leaves out because nobody reads it
    (`models.fast.sparse_queries`) counts all the same: models are compared by what they are.

    Args:
        backprop_loops: only the last so many loops have a backward pass; None: all.
        frozen: only the gate has one.
    """
    forward = forward_flops(
        config,
        vocabulary_size,
        documents=documents,
        context=context,
        predicted=predicted,
        n_loops=n_loops,
        losses=losses,
        gate=gate,
    )
    if frozen:
        return forward + BACKWARD * 2 * config.width * predicted * n_loops
    skipped = 0 if backprop_loops is None else max(n_loops - backprop_loops, 0)
    unlearned = documents * context * _core_flops(config, context, skipped)
    return forward + BACKWARD * (forward - unlearned)
