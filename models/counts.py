"""Parameters by part and FLOPs, analytically, without torch.

FLOPs count two per multiply-add of every matrix product: projections, attention scores over the
full T×T square (as torch's own counter does, causal or not), router, head and gate. Norms,
rotary positions and element-wise functions are left out, as is usual (2001.08361 §2.1).
"""

from models.shape import LoopedShape

#: tokens up to which attention that keeps its probabilities is no slower than torch's on a CPU, in
#: full and in half precision (experiments/LOG.md)
LONGEST, LONGEST_HALF = 64, 512
#: largest share of the tokens at which the queries of a few positions are worth gathering
SPARSE = 0.5

#: injections that have matrices of width² and vectors of width, and how many
JOINING_MATRICES = {"concat": 2, "gated": 2, "diagonal": 1}
JOINING_VECTORS = {"gated": 1, "diagonal": 2}
#: values that joining keeps of a token for the backward pass, in widths
JOINING_VALUES = {"concat": 2, "gated": 5, "diagonal": 3}


def keeps_probabilities(tokens: int, *, half: bool) -> bool:
    """Whether attention in documents of so many tokens keeps them while it trains on a CPU."""
    return tokens <= (LONGEST_HALF if half else LONGEST)


def reads_few(queries: int, tokens: int) -> bool:
    """Whether the last block is computed at the positions read alone, so many of each document."""
    return 0 < queries <= SPARSE * tokens


def _mlp_parameters(shape: LoopedShape, experts: int) -> int:
    """Parameters of one layer's MLP, or of its router and `experts` experts."""
    matrices = 2 if shape.mlp == "gelu" else 3
    each = matrices * shape.width * shape.hidden
    return shape.width * shape.experts + experts * each if shape.mlp == "moe" else each


def _joining(shape: LoopedShape) -> int:
    """Parameters of the matrix by which the loop's input joins the state."""
    return JOINING_MATRICES.get(shape.injection, 0) * shape.width**2


def count_parameters(
    shape: LoopedShape, vocabulary_size: int, *, gate: bool, active: bool = False
) -> dict[str, int]:
    """Parameters by part; `total` is their sum. The `<pad>` row never occurs and is not counted.

    Args:
        vocabulary_size: includes `<pad>` (id 0).
        active: only what one token uses in one application of a layer; less than all of them
            in a mixture of experts alone.
    """
    rows, width = vocabulary_size - 1, shape.width
    experts = shape.experts_per_token if active else shape.experts
    vectors = (4 if shape.norm == "sandwich" else 2) + (0 if shape.layer_scale is None else 2)
    heads = 2 * width // shape.heads if shape.qk_norm else 0
    layer = 4 * width**2 + _mlp_parameters(shape, experts) + vectors * width + heads
    parts = {
        "embedding": rows * width,
        "head": 0 if shape.tied else rows * width,
        "prelude": shape.prelude * layer,
        "core": shape.core * layer,
        "coda": shape.coda * layer,
        "final_norm": width,
        "gate": width + 1 if gate else 0,
    }
    if shape.positions == "learned":
        assert shape.context is not None
        parts["positions"] = shape.context * width
    if shape.injects:
        parts["entrance"] = width * (1 + (shape.embedded_loops or 0))
        parts["entrance"] += _joining(shape) + width * JOINING_VECTORS.get(shape.injection, 0)
        parts["entrance"] += width if shape.initial_state == "learned" else 0
    parts |= shape.extra_parameters()
    return {**parts, "total": sum(parts.values())}


def hidden_matrices(shape: LoopedShape) -> dict[tuple[int, int], int]:
    """(rows, columns) -> how many matrices inside the layers have them; a router is none."""
    width, hidden = shape.width, shape.hidden
    layers = shape.prelude + shape.core + shape.coda
    mlps = layers * (shape.experts if shape.mlp == "moe" else 1)
    found = {(width, width): 4 * layers}  # q, k, v and the output
    for size, number in (((hidden, width), 1 if shape.mlp == "gelu" else 2), ((width, hidden), 1)):
        found[size] = found.get(size, 0) + number * mlps
    return found


def block_flops(shape: LoopedShape, context: int) -> int:
    """Forward FLOPs of one block for one token in a document of `context` tokens."""
    mlp = _mlp_parameters(shape, shape.experts_per_token)
    return 2 * (4 * shape.width**2 + mlp) + 4 * context * shape.width


def loop_flops(shape: LoopedShape, context: int, loops: int) -> int:
    """Forward FLOPs of the core for one token, with what joins the state before every loop."""
    calls = len(shape.schedule(loops)) - shape.prelude
    return calls * block_flops(shape, context) + loops * 2 * _joining(shape)


def forward_flops(
    shape: LoopedShape,
    vocabulary_size: int,
    *,
    documents: int,
    context: int,
    predicted: int,
    n_loops: int | None = None,
    losses: int = 1,
    gate: bool = False,
) -> int:
    """Forward FLOPs of a batch; arguments as in `ModelConfig.forward_flops`."""
    loops = shape.loops if n_loops is None else n_loops
    outside = (shape.prelude + shape.coda * losses) * block_flops(shape, context)
    head = 2 * shape.width * vocabulary_size * losses
    gates = 2 * shape.width * loops if gate else 0
    layers = documents * context * (outside + loop_flops(shape, context, loops))
    layers += documents * shape.extra_flops(vocabulary_size, context, loops)
    return layers + predicted * (head + gates)


def skipped_flops(shape: LoopedShape, context: int, queries: int, losses: int = 1) -> int:
    """Forward FLOPs of a document that a training pass leaves out, since nobody reads its output.

    The last block, of the last loop or of the coda, has keys and values of every token and all
    else at the positions read alone (`models.fast.sparse_queries`).

    Args:
        queries: positions read of the document that has the most.
        losses: loops whose logits are computed, with a coda for each.
    """
    if shape.mlp == "moe" or not reads_few(queries, context):
        return 0
    of_queries = block_flops(shape, context) - 4 * shape.width**2
    return (context - queries) * of_queries * (losses if shape.coda else 1)
