"""Parameters by part and FLOPs, analytically, without torch.

FLOPs count two per multiply-add of every matrix product: projections, attention scores over the
full T×T square (as torch's own counter does, causal or not), head and gate. Norms, rotary
positions and element-wise functions are left out, as is usual (2001.08361 §2.1).
"""

from models.config import LoopedConfig


def count_parameters(config: LoopedConfig, vocabulary_size: int, *, gate: bool) -> dict[str, int]:
    """Parameters by part; `total` is their sum. The `<pad>` row never occurs and is not counted.

    `vocabulary_size` includes `<pad>` (id 0).
    """
    rows = vocabulary_size - 1
    attention = 4 * config.width**2
    mlp = (3 if config.mlp == "swiglu" else 2) * config.width * config.hidden
    norms = (4 if config.norm == "sandwich" else 2) * config.width
    layer = attention + mlp + norms
    parts = {
        "embedding": rows * config.width,
        "head": 0 if config.tied else rows * config.width,
        "prelude": config.prelude * layer,
        "core": config.core * layer,
        "coda": config.coda * layer,
        "final_norm": config.width,
        "gate": config.width + 1 if gate else 0,
    }
    return {**parts, "total": sum(parts.values())}


def block_flops(config: LoopedConfig, context: int) -> int:
    """Forward FLOPs of one block for one token in a document of `context` tokens."""
    mlp = (3 if config.mlp == "swiglu" else 2) * config.width * config.hidden
    return 2 * (4 * config.width**2 + mlp) + 4 * context * config.width


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
    """
    loops = config.loops if n_loops is None else n_loops
    tokens = documents * context
    calls = config.prelude + config.core * loops + config.coda * losses
    head = 2 * config.width * vocabulary_size * predicted * losses
    gates = 2 * config.width * predicted * loops if gate else 0
    return tokens * calls * block_flops(config, context) + head + gates
